"""The logging pipeline: from `self.log` to the loggers, with one host sync per flush."""
