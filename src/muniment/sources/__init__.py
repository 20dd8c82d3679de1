"""The catalogue of known systems: how each is recognised, timed and mapped to OCSF; and which sources are registered.

`catalogue.load()` reads it, `compiler.compile_entry()` turns an entry into SQL, `ocsf.to_ocsf()` gives the OCSF
object of a row, `registry.SourceRegistry` knows the senders.
"""
