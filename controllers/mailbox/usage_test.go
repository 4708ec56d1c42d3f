package mailbox

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
)

func TestJudgeQuota(t *testing.T) {
	const within, nearly, full = v1alpha1.ReasonWithinQuota, v1alpha1.ReasonNearQuota, v1alpha1.ReasonOverQuota
	for name, c := range map[string]struct {
		percent   int32
		was, want string
	}{
		"79 % is room":                                    {79, "", within},
		"80 % is near":                                    {80, "", nearly},
		"94 % is near":                                    {94, nearly, nearly},
		"95 % is over":                                    {95, nearly, full},
		"a little less than over is over still":           {93, full, full},
		"three points less than over is near":             {92, full, nearly},
		"a little less than near is near still":           {78, nearly, nearly},
		"three points less than near is room":             {77, nearly, within},
		"over and then a little less than near is near":   {78, full, nearly},
		"a quota that was shrunk under its mail is over":  {400, within, full},
		"a mailbox that was emptied has room, at once":    {0, full, within},
		"the same use that came from below is not near":   {78, within, within},
		"the same use that came from below near is near":  {93, nearly, nearly},
		"nothing known of before and a little below near": {78, "", within},
	} {
		if got := judgeQuota(c.percent, c.was, 1<<30); got.Reason != c.want {
			t.Errorf("%s: %s", name, got.Reason)
		}
	}
}

func TestShown(t *testing.T) {
	const quota = 1 << 30
	old := &v1alpha1.MailboxUsage{Bytes: ptr.To(int64(500 << 20)), Messages: ptr.To(int64(100)), Percent: ptr.To(int32(48))}
	small := &v1alpha1.MailboxUsage{Bytes: ptr.To(int64(1000)), Messages: ptr.To(int64(1)), Percent: ptr.To(int32(0))}
	empty := &v1alpha1.MailboxUsage{Bytes: ptr.To(int64(0)), Messages: ptr.To(int64(0)), Percent: ptr.To(int32(0))}
	for name, c := range map[string]struct {
		old  *v1alpha1.MailboxUsage
		now  admin.Usage
		want bool // that it is written
	}{
		"the first look":                       {nil, admin.Usage{}, true},
		"another message in a large mailbox":   {old, admin.Usage{Bytes: 501 << 20, Messages: 101}, false},
		"another point of the quota":           {old, admin.Usage{Bytes: 512 << 20, Messages: 102}, true},
		"the first message":                    {empty, admin.Usage{Bytes: 1024, Messages: 1}, true},
		"a message that doubles what is there": {small, admin.Usage{Bytes: 2000, Messages: 2}, true},
		"nothing new":                          {small, admin.Usage{Bytes: 1000, Messages: 1}, false},
		"emptied":                              {small, admin.Usage{}, true},
	} {
		got := shown(c.old, c.now, quota)
		if (got != c.old) != c.want {
			t.Errorf("%s: shown %+v", name, got)
		}
		if c.want && (*got.Bytes != c.now.Bytes || *got.Messages != c.now.Messages) {
			t.Errorf("%s: shown %d bytes, %d messages", name, *got.Bytes, *got.Messages)
		}
	}
}

func TestLooksAreRare(t *testing.T) {
	var l looks
	now, key := time.Now(), types.NamespacedName{Name: "m"}
	looks := func(at time.Time) bool { now, _ := l.due(key, at); return now }
	if !looks(now) || looks(now.Add(usageEvery-time.Second)) || !looks(now.Add(2*usageEvery)) {
		t.Error("a mailbox is not looked at at once, then not again, then again")
	}
}
