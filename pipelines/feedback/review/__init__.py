"""People's labels of judged answers: which to show, how labels are kept, and where they override a judge."""
