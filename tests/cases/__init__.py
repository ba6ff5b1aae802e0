"""Situations that people of the trade report: what riskwatch shows of each, over whole replays."""
