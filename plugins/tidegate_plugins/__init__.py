"""The plugins that tidegate ships: each comes through the same door as anyone's."""
