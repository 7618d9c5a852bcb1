"""The recipe: one file of settings for each subject, how it is read, and the recipes that come with Salus."""
