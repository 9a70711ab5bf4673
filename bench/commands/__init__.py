"""The command line's commands, one file each; a module is imported only when its command is called."""
