"""What a lab shows: dashboard, figures, source."""
