"""What ctest calls."""

import sys
import unittest


def runUnitTest(path, testname):
    """Runs a test by name; an error if it fails.

    :param path: a folder, or several, in which its module is looked for.
    """
    sys.path.extend([path] if isinstance(path, str) else path)
    suite = unittest.TestLoader().loadTestsFromName(testname)
    if not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful():
        raise RuntimeError(f"{testname} failed")
