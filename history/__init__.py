"""What a run leaves behind: its plan, its records, its verdict; the types, their writers and readers.

The other rooms meet here. This room imports none of them.
"""
