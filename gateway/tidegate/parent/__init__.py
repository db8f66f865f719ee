"""The supervisor's rooms: its children, its signals, its hold on the journal, a reload."""
