package mailboxmigration

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/calendar"
)

func TestPlanOfReadsWindows(t *testing.T) {
	for sentence, c := range map[string]struct {
		window v1alpha1.Window
		want   calendar.Window
		why    string
	}{
		"on every day":                     {window: v1alpha1.Window{Opens: "13:00", Closes: "24:00"}, want: calendar.Window{From: 13 * 3600, To: 24 * 3600}},
		"on the days as the kind has them": {window: v1alpha1.Window{Days: []v1alpha1.Weekday{"Monday", "Sunday"}, Opens: "22:00", Closes: "06:30"}, want: calendar.Window{Days: calendar.Days{time.Monday, time.Sunday}, From: 22 * 3600, To: 6*3600 + 1800}},
		"on a day that is none":            {window: v1alpha1.Window{Days: []v1alpha1.Weekday{"Mon"}, Opens: "22:00", Closes: "06:00"}, why: `"Mon" is not a day: write Monday`},
		"at a time that is none":           {window: v1alpha1.Window{Opens: "25:00", Closes: "06:00"}, why: `"25:00" is not a time of day`},
	} {
		t.Run(sentence, func(t *testing.T) {
			plan, err := planOf(&v1alpha1.MailboxMigrationSpec{Copy: &v1alpha1.MigrationCopy{Windows: []v1alpha1.Window{c.window}}})
			if c.why != "" {
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("want an error with %q, got %v", c.why, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]calendar.Window{c.want}, plan.Windows.Allow); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The API server takes a calendar that the operator then refuses: that an example applies does not say that it can be followed.
func TestEveryExampleHasATimetable(t *testing.T) {
	seen := 0
	for name, document := range apitest.Examples(t) {
		if !strings.Contains(document, "\nkind: MailboxMigration\n") {
			continue
		}
		seen++
		var m v1alpha1.MailboxMigration
		if err := yaml.Unmarshal([]byte(document), &m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plan, err := planOf(&m.Spec)
		if err == nil {
			_, err = plan.Settle()
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if seen < 2 {
		t.Errorf("%d migrations: the test reads the wrong files", seen)
	}
}
