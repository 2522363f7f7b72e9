"""Jobs, events, commands and records: plain frozen data with no behaviour beyond themselves.

Everything above this folder speaks in these types; this folder imports nothing of ours.
Each type is a slotted `msgspec.Struct`, so it is also its own wire and journal format.
"""
