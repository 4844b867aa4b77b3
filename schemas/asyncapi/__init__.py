"""The contract as an AsyncAPI 3.0 document, made from the Avro files and the topics.

``python -m schemas.asyncapi > docs/asyncapi.yaml`` writes it; ``--check docs/asyncapi.yaml`` says whether a file is still what
would be written. Writing YAML needs ``ruamel.yaml``, one of the development tools; ``document`` needs nothing more.
"""

from schemas.asyncapi.document import document

__all__ = ["document"]
