"""To and from other libraries; each module needs its library and is imported only when asked for."""
