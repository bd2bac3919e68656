"""The forms in which people have training data, a file each, and which of them a path is."""

from xpnet.data.forms.dispatch import FORMS, Form, load_path

__all__ = ["FORMS", "Form", "load_path"]
