"""What a job leaves behind: volumes, pictures, the report, and where it all came from."""

from invreg.report.files import RESULTS, write_results

__all__ = ["RESULTS", "write_results"]
