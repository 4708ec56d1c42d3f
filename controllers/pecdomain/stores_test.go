package pecdomain

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
)

func TestJudgeStores(t *testing.T) {
	known := func(reason string) *metav1.Condition {
		return &metav1.Condition{Type: v1alpha1.ConditionStoresInSync, Reason: reason}
	}
	equal := known(v1alpha1.ReasonStoresEqual)
	old := now.Add(-time.Hour)
	for name, c := range map[string]struct {
		single bool
		stores *admin.Stores
		known  *metav1.Condition
		want   string
	}{
		"a spec without another peer link is a single site": {true, nil, nil, v1alpha1.ReasonSingleSite},
		"an engine that says nothing":                       {false, nil, equal, v1alpha1.ReasonStoresNotCompared},
		"all mailboxes agree":                               {false, &admin.Stores{Mailboxes: 3, Compared: 3, Reached: now}, nil, v1alpha1.ReasonStoresEqual},
		"mail on its way is no news":                        {false, &admin.Stores{Mailboxes: 3, Compared: 3, Differing: 1, Since: now.Add(-time.Minute), Reached: now}, equal, v1alpha1.ReasonStoresEqual},
		"a difference of minutes is merged":                 {false, &admin.Stores{Mailboxes: 3, Compared: 3, Differing: 1, Since: now.Add(-3 * time.Minute), Reached: now}, equal, v1alpha1.ReasonStoresMerging},
		"one of half an hour has diverged":                  {false, &admin.Stores{Mailboxes: 3, Compared: 3, Differing: 2, Since: old, Diverged: 1, Reached: now}, equal, v1alpha1.ReasonStoresDiverged},
		"an engine that started anew does not forget that":  {false, &admin.Stores{Mailboxes: 3, Compared: 3, Differing: 1, Since: now, Reached: now}, known(v1alpha1.ReasonStoresDiverged), v1alpha1.ReasonStoresDiverged},
		"until it is mended":                                {false, &admin.Stores{Mailboxes: 3, Compared: 3, Reached: now}, known(v1alpha1.ReasonStoresDiverged), v1alpha1.ReasonStoresEqual},
		"a mailbox that was just made changes nothing":      {false, &admin.Stores{Mailboxes: 4, Compared: 3, Reached: now}, equal, v1alpha1.ReasonStoresEqual},
		"before the first comparison nothing is known":      {false, &admin.Stores{Mailboxes: 4, Compared: 3, Reached: now}, nil, v1alpha1.ReasonStoresNotCompared},
		"a line that failed a moment ago is no news":        {false, &admin.Stores{Mailboxes: 3, Compared: 3, Reached: now.Add(-time.Minute), Failed: now}, equal, v1alpha1.ReasonStoresEqual},
		"a line that stays cut makes it unknown":            {false, &admin.Stores{Mailboxes: 3, Compared: 3, Reached: now.Add(-6 * time.Minute), Failed: now}, equal, v1alpha1.ReasonPeerUnreachable},
		"a quiet hour is no cut line":                       {false, &admin.Stores{Mailboxes: 3, Compared: 3, Reached: old, Failed: old.Add(-time.Minute)}, equal, v1alpha1.ReasonStoresEqual},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judgeStores(!c.single, c.stores, c.known, now); got.Reason != c.want {
				t.Errorf("%s: %s, want %s", got.Reason, got.Message, c.want)
			}
		})
	}
}

func TestStoresThatDivergedFitTheStatus(t *testing.T) {
	long := strings.Repeat("x", 64) + "@" + strings.Repeat("y", 100)
	for name, c := range map[string]struct {
		digest string
		differ *admin.Stores
		want   *v1alpha1.SiteStores
	}{
		"no digest yet":             {"", &admin.Stores{}, nil},
		"what differs for a moment": {"f00", &admin.Stores{Differing: 3}, &v1alpha1.SiteStores{Digest: "f00"}},
		"what has diverged":         {"f00", &admin.Stores{Differing: 30, Diverged: 12, Addresses: []string{"a@d", long}}, &v1alpha1.SiteStores{Digest: "f00", Differing: ptr.To(int32(12)), Addresses: []string{"a@d", long[:96]}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, siteStores(c.digest, c.differ)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
