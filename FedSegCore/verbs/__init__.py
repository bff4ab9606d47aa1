"""What each verb of the command line does; each module is imported when its verb is called."""
