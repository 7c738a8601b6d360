"""What the benchmarks measure against: everything written down as simply as possible, in plain float32."""
