"""Reference implementations for the benchmarks, as simple as possible, in plain float32."""
