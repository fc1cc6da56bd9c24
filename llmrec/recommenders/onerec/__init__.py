"""OneRec: generate the items of a session as semantic IDs, aligned with what users value.

Import from the modules: ``tokenizer`` turns item vectors into semantic IDs, and ``trie``,
``limits`` and ``beam`` search among them.
"""
