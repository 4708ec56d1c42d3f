package calendar_test

import (
	"fmt"

	"github.com/pec-operator/pec-operator/internal/calendar"
)

// local is for examples, whose times are right.
func local(s string) calendar.Local {
	l, err := calendar.ParseLocal(s)
	if err != nil {
		panic(err)
	}
	return l
}

// letter is the letter that closed a provider's service in April 2022, in no order. Its text keeps the archived mail until
// 28/12/2023, its table until 28/10/2024.
func letter() calendar.Plan {
	return calendar.Plan{Phases: []calendar.Phase{
		{Name: calendar.Destroy, At: local("2024-10-28T00:00:00")},
		{Name: calendar.RequestsClose, At: local("2022-04-20T12:00:00")},
		{Name: calendar.Freeze, At: local("2022-04-20T08:00:00"), Until: local("2022-05-09T09:00:00")},
		{Name: calendar.OpenNew, At: local("2022-04-28T18:00:00")},
		{Name: calendar.BlockSending, At: local("2022-04-28T08:00:00")},
		{Name: calendar.Archive, At: local("2022-06-28T09:00:00"), Until: local("2023-12-28T00:00:00")},
		{Name: calendar.OldReadOnly, At: local("2022-04-28T09:00:00"), Until: local("2022-06-28T09:00:00")},
	}}
}

func ExamplePlan_Settle() {
	timetable, err := letter().Settle()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(timetable)
	// Output:
	// Wed 2022-04-20 08:00 CEST = 2022-04-20 06:00 UTC  Freeze
	// Wed 2022-04-20 12:00 CEST = 2022-04-20 10:00 UTC  RequestsClose
	// Wed 2022-04-20 12:00 CEST = 2022-04-20 10:00 UTC  Copy
	// Thu 2022-04-21 12:00 CEST = 2022-04-21 10:00 UTC  Copy
	// Fri 2022-04-22 12:00 CEST = 2022-04-22 10:00 UTC  Copy
	// Sat 2022-04-23 12:00 CEST = 2022-04-23 10:00 UTC  Copy
	// Sun 2022-04-24 12:00 CEST = 2022-04-24 10:00 UTC  Copy
	// Mon 2022-04-25 12:00 CEST = 2022-04-25 10:00 UTC  Copy
	// Tue 2022-04-26 12:00 CEST = 2022-04-26 10:00 UTC  Copy
	// Wed 2022-04-27 12:00 CEST = 2022-04-27 10:00 UTC  Copy
	// Thu 2022-04-28 08:00 CEST = 2022-04-28 06:00 UTC  BlockSending
	// Thu 2022-04-28 09:00 CEST = 2022-04-28 07:00 UTC  OldReadOnly
	// Thu 2022-04-28 09:00 CEST = 2022-04-28 07:00 UTC  FinalDelta
	// Thu 2022-04-28 09:00 CEST = 2022-04-28 07:00 UTC  Verify, after FinalDelta
	// Thu 2022-04-28 09:00 CEST = 2022-04-28 07:00 UTC  CutOver, after Verify
	// Thu 2022-04-28 18:00 CEST = 2022-04-28 16:00 UTC  OpenNew
	// Mon 2022-05-09 09:00 CEST = 2022-05-09 07:00 UTC  Freeze ends
	// Tue 2022-06-28 09:00 CEST = 2022-06-28 07:00 UTC  OldReadOnly ends
	// Tue 2022-06-28 09:00 CEST = 2022-06-28 07:00 UTC  Archive
	// Mon 2024-10-28 00:00 CET  = 2024-10-27 23:00 UTC  Archive ends
	// Mon 2024-10-28 00:00 CET  = 2024-10-27 23:00 UTC  Destroy (cannot be undone)
	// contradiction: the old content is kept until 2023-12-28T00:00:00 (Archive.until) and 2024-10-28T00:00:00 (Destroy.at): the latest promise, 2024-10-28T00:00:00, wins
}

func ExampleTimetable_Next() {
	timetable, err := letter().Settle()
	if err != nil {
		fmt.Println(err)
		return
	}
	now := local("2022-04-20T08:00:00").UTC()
	outlook := timetable.Next(now, nil)
	for _, a := range outlook.Actions {
		fmt.Println(a.Do, a.Slot.Name)
	}
	outlook = timetable.Next(now, calendar.Ledger{"freeze": calendar.Done})
	fmt.Println(len(outlook.Actions), "more; look again at", calendar.Both(outlook.LookAgain))
	// Output:
	// Start freeze
	// 0 more; look again at 2022-04-20 12:00:00 +02:00 (2022-04-20 10:00:00 UTC)
}
