"""Work shared between processes and threads: workers that are watched, ranks of one training, batches moved ahead."""
