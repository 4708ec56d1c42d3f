package mailbox

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/contract"
)

// reasonOf is the reason of the one condition that a judge said, "" if it said none.
func reasonOf(conditions []metav1.Condition) string {
	if len(conditions) == 0 {
		return ""
	}
	return conditions[0].Reason
}

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
		if got := reasonOf(judgeQuota(&v1alpha1.MailboxUsage{Percent: &c.percent}, c.was, 1<<30)); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := judgeQuota(&v1alpha1.MailboxUsage{}, "", 0); got != nil {
		t.Errorf("where nobody says how much fits: %v", got)
	}
}

func TestJudgeArchive(t *testing.T) {
	const keeps, fills, archived = v1alpha1.ReasonOldMailKept, v1alpha1.ReasonFillsSoon, v1alpha1.ReasonArchivedByPolicy
	policy := archiver{policy: "ordinary", days: 90}
	for name, c := range map[string]struct {
		percent, old int32
		fullOn       v1alpha1.Date
		was          string
		by           archiver
		want, says   string
	}{
		"a mailbox in use":                                          {50, 20, "2026-09-01", "", archiver{}, "", ""},
		"half of it is old":                                         {50, 50, "", "", archiver{}, keeps, "50 % of what it holds is more than a year old, and a mailbox is no archive: make a RetentionPolicy"},
		"a little less than half":                                   {50, 45, "", "", archiver{}, "", ""},
		"a little less than half, and it was half":                  {50, 45, "", keeps, archiver{}, keeps, ""},
		"much less than half, and it was half":                      {50, 35, "", keeps, archiver{}, "", ""},
		"all of it is old and it is little":                         {15, 95, "", "", archiver{}, "", ""},
		"full in 60 days":                                           {50, 0, "2026-04-30", "", archiver{}, fills, "it grows by 2 MiB a day and is full on 2026-04-30"},
		"full in 61":                                                {50, 0, "2026-05-01", "", archiver{}, "", ""},
		"full in 70, and it was less":                               {50, 0, "2026-05-10", fills, archiver{}, fills, ""},
		"full in 76, and it was less":                               {50, 0, "2026-05-16", fills, archiver{}, "", ""},
		"full already":                                              {100, 0, "2026-02-20", "", archiver{}, fills, "2026-02-20"},
		"full soon and old: the day comes first":                    {90, 80, "2026-03-10", "", archiver{}, fills, ""},
		"a policy archives it":                                      {50, 80, "", keeps, policy, archived, "RetentionPolicy ordinary archives what is older than 90 days and removes nothing"},
		"a policy archives it and it is full soon":                  {90, 0, "2026-03-10", "", policy, archived, "is full on 2026-03-10"},
		"a policy archives what needs none":                         {10, 0, "", "", policy, "", ""},
		"the policy is gone":                                        {50, 45, "", archived, archiver{}, keeps, ""},
		"another provider's, without a quota, of which half is old": {-1, 60, "", "", archiver{provider: "Altro gestore"}, keeps, "ask Altro gestore for a larger quota"},
	} {
		u := &v1alpha1.MailboxUsage{Percent: &c.percent, OldPercent: &c.old, FullOn: c.fullOn, GrowthPerDay: ptr.To(int64(2 << 20))}
		if c.percent < 0 {
			u.Percent = nil
		}
		got := judgeArchive(u, c.was, c.by, noon)
		if reasonOf(got) != c.want || (c.want != "" && !strings.Contains(got[0].Message, c.says)) {
			t.Errorf("%s: %v", name, got)
		}
		if c.want != "" && (got[0].Status == metav1.ConditionTrue) == (c.want == archived) {
			t.Errorf("%s: %s is %s", name, c.want, got[0].Status)
		}
	}
}

func TestJudgeType(t *testing.T) {
	const matches, like, above, below = v1alpha1.ReasonMatchesType, v1alpha1.ReasonSendsLikeMassive, v1alpha1.ReasonAboveExpected, v1alpha1.ReasonBelowMassive
	standard := sender{kind: contract.Standard}
	massive := func(expected int64) sender { return sender{kind: contract.Massive, expected: expected} }
	for name, c := range map[string]struct {
		by        sender
		sent      int64
		was, want string
	}{
		"a standard mailbox that writes letters":                  {standard, 15, "", matches},
		"one that sends as much as a standard one may":            {standard, 3000, "", matches},
		"one that sends more":                                     {standard, 3100, matches, like},
		"it fell a little":                                        {standard, 2500, like, like},
		"it fell by a fifth":                                      {standard, 2400, like, matches},
		"it has a justification and waits for its grant":          {sender{kind: contract.Standard, expected: 40000}, 3100, "", like},
		"a massive one that sends what it said":                   {massive(40000), 38000, "", matches},
		"one that sends half as much again":                       {massive(40000), 60000, "", matches},
		"one that sends more than that":                           {massive(40000), 61000, "", above},
		"it fell a little, massive":                               {massive(40000), 55000, above, above},
		"it fell to what is near":                                 {massive(40000), 48000, above, matches},
		"a massive one that sends twelve a month":                 {massive(40000), 12, "", below},
		"one that sends a tenth":                                  {massive(20000), 2000, "", matches},
		"it rose a little":                                        {massive(20000), 2200, below, below},
		"it rose to an eighth":                                    {massive(20000), 2500, below, matches},
		"one that sends little of much, and too much for another": {massive(100000), 5000, "", matches},
		"a new one that has not begun":                            {sender{kind: contract.Massive, expected: 40000, young: true}, 0, "", matches},
		"a new one that sends too much":                           {sender{kind: contract.Massive, expected: 400, young: true}, 700, "", above},
		"it became standard":                                      {standard, 100, above, matches},
	} {
		got := judgeType(&v1alpha1.MailboxUsage{SentPerMonth: &c.sent}, c.was, c.by)
		if reasonOf(got) != c.want || (got[0].Status == metav1.ConditionTrue) != (c.want == matches) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := judgeType(&v1alpha1.MailboxUsage{}, "", standard); got != nil {
		t.Errorf("where nobody counts: %v", got)
	}
}
