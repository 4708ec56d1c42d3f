package calendar

import "time"

// Day is the day of an instant on the clocks of Europe/Rome, like 2027-12-31: days that are written so compare as text.
func Day(t time.Time) string { return t.In(rome).Format(time.DateOnly) }
