"""From a configuration to decisions: generations, the plugin host, admission, conclusion."""
