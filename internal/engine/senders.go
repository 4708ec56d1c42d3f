package engine

import (
	"hash/maphash"
	"maps"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// senders count, by mailbox, what was accepted for sending on each of the last days, at either site. They are a view of the logs, read
// at start.
type senders struct {
	mu sync.Mutex
	by map[string]*sentDays
	// counted are the days on which submissions were counted, by the hash of their identifier: a mirror that was set aside and the one
	// that was begun after it hold the same records. Eight bytes of each identifier are enough, and so is a month of them.
	counted map[uint64]int
	newest  int // of the days in counted
	seed    maphash.Seed
}

func newSenders() *senders {
	return &senders{by: map[string]*sentDays{}, counted: map[uint64]int{}, seed: maphash.MakeSeed()}
}

// sentDays are counts by day, the day's number modulo their length; last is the newest day that was counted.
type sentDays struct {
	last   int
	counts [mailage.MonthDays]int32
}

// dayNumber counts days on the calendar of Rome.
func dayNumber(t time.Time) int {
	year, month, day := t.In(pec.Rome()).Date()
	return int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
}

// add counts a message that was accepted at a time, once, however many logs tell of it; one of before the month is nobody's concern.
func (s *senders) add(address, identifier string, at, now time.Time) {
	if now.Sub(at) > (mailage.MonthDays+1)*24*time.Hour { // a start reads years of them
		return
	}
	day, today := dayNumber(at), dayNumber(now)
	if day <= today-mailage.MonthDays || day > today {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest < today {
		s.newest = today
		maps.DeleteFunc(s.counted, func(_ uint64, day int) bool { return day <= today-mailage.MonthDays })
	}
	key := maphash.String(s.seed, identifier)
	if _, known := s.counted[key]; known {
		return
	}
	s.counted[key] = day
	d := s.by[address]
	if d == nil {
		d = &sentDays{last: today}
		s.by[address] = d
	}
	d.turn(today)
	d.counts[day%mailage.MonthDays]++
}

// turn forgets what is older than a month of days before today.
func (d *sentDays) turn(today int) {
	for d.last < today {
		d.last++
		d.counts[d.last%mailage.MonthDays] = 0
		if today-d.last > mailage.MonthDays {
			d.last = today - mailage.MonthDays
		}
	}
}

// month is how many messages of a mailbox were accepted in the last days, today among them.
func (s *senders) month(address string, now time.Time) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.by[address]
	if d == nil {
		return 0
	}
	d.turn(dayNumber(now))
	for _, count := range d.counts {
		n += int64(count)
	}
	return n
}
