"""Parts of the pages that are made from the code while they are built: a table that nobody has to
keep up, a picture that cannot be out of date.

One directive for each; what they draw or tabulate is in the modules beside this one.
"""

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from from_code import command, docstrings, examples, faults, house, lives, states, tables


def setup(app: Sphinx) -> ExtensionMetadata:
    for module in (command, examples, faults, house, lives, states, tables):
        for name, directive in module.DIRECTIVES.items():
            app.add_directive(name, directive)
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("autodoc-process-signature", docstrings.process_signature)
    app.add_css_file("diagrams.css")
    return {"parallel_read_safe": True}
