package dns

import (
	"fmt"
	"strings"
	"time"
)

// Ask is what a record request is made from.
type Ask struct {
	Verdict  Verdict
	Want     Desired
	Takeover Takeover
	// Deadline is when the records should be there; its location is the one that dates are written in.
	Deadline time.Time
	// Contact is the address that confirms.
	Contact string
}

// Text is one request in the two languages that it may be sent in.
type Text struct {
	Italian string `json:"it"`
	English string `json:"en"`
}

// Request writes what the administrator of the zone is to do, ready to be sent. Where any server shows an MX of somebody else
// that nobody approved to replace, it is a warning and holds no record line: a line in it would be pasted. It is empty when
// nothing is to be done.
func Request(a Ask) Text {
	if a.Verdict.State == Ours {
		return Text{}
	}
	return Text{Italian: a.write(italian), English: a.write(english)}
}

func (a Ask) write(w words) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	v := a.Verdict
	line(w.domain, bare(v.Domain))
	if v.State.Definite() && v.State != Alias {
		line(w.seen, v.At.In(a.Deadline.Location()).Format("2006-01-02 15:04 MST"), a.seen(w))
	}
	approved := a.Takeover.permits(v.Seen.MX) && v.State.Definite() && v.State != Conflict && v.State != Alias
	switch {
	case v.Foreign && !approved:
		line(w.foreign, bare(v.Domain))
		if v.State == Hybrid {
			line("%s", w.hybrid)
		}
		line(w.confirm, a.Contact)
	case approved || askable(v.State):
		a.records(line, w, approved)
	default:
		line(w.repair[v.State], bare(v.Domain))
		line(w.found, v.Sentence)
		line(w.confirm, a.Contact)
	}
	return b.String()
}

func (a Ask) seen(w words) string {
	if len(a.Verdict.Seen.MX) == 0 {
		return w.noMX
	}
	return a.Verdict.Seen.MX.String()
}

// records says where the zone is, what to write, and what to leave alone.
func (a Ask) records(line func(string, ...any), w words, approved bool) {
	v, zone := a.Verdict, bare(a.Verdict.Zone)
	if v.Domain == v.Zone {
		line(w.apex, zone)
	} else {
		line(w.below, zone)
	}
	if len(v.Seen.MX) > 0 {
		if approved {
			line(w.approved, a.Takeover.ApprovedBy)
			line(w.lower, v.OldTTL/time.Second, v.OldTTL)
		}
		line("%s", w.remove)
		for _, mx := range v.Seen.MX {
			line("    %s", a.zoneLine(v.Seen.TTL, mx))
		}
	}
	line("%s", w.insert)
	for _, mx := range a.Want.MX {
		line("    %s", a.zoneLine(a.Want.TTL, mx))
	}
	line(w.leave, zone)
	line(w.deadline, a.Deadline.Format("2006-01-02"), a.Contact)
	line("%s", w.nsupdate)
	for _, command := range a.commands() {
		line("    %s", command)
	}
}

// zoneLine is a record as the zone file holds it.
func (a Ask) zoneLine(ttl uint32, mx MX) string {
	name := "@"
	if a.Verdict.Domain != a.Verdict.Zone {
		name = strings.TrimSuffix(a.Verdict.Domain, "."+a.Verdict.Zone)
	}
	return fmt.Sprintf("%s %d IN MX %d %s", name, ttl, mx.Preference, mx.Host)
}

// commands is the same change for nsupdate, under the prerequisite that the name is still as it was seen.
func (a Ask) commands() []string {
	v := a.Verdict
	commands := []string{"zone " + v.Zone, "prereq nxrrset " + v.Domain + " CNAME"}
	if len(v.Seen.MX) == 0 {
		commands = append(commands, "prereq nxrrset "+v.Domain+" MX")
	} else {
		for _, mx := range v.Seen.MX {
			commands = append(commands, "prereq yxrrset "+v.Domain+" MX "+mx.String())
		}
		commands = append(commands, "update delete "+v.Domain+" MX")
	}
	for _, mx := range a.Want.MX {
		commands = append(commands, fmt.Sprintf("update add %s %d MX %s", v.Domain, a.Want.TTL, mx))
	}
	return append(commands, "send")
}

// bare is a name as people write it.
func bare(name string) string { return strings.TrimSuffix(name, ".") }
