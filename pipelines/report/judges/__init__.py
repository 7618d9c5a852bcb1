"""What a run says of its judges: their cost, their agreement, and how well the judge did on each contender."""
