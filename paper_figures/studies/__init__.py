"""Studies beyond the figures: experiments that test a claim in another way, or ask why ours differs."""
