package manager_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/manager"
)

func TestUsageIsShownAndJudged(t *testing.T) {
	s := newSite(t, "consumi", siteOptions{change: func(o *manager.Options) { o.UsageEvery = time.Second }})
	domain := s.makeDomain()
	s.provide(t)
	s.create(t, domain, password(s.ns, hashed))
	s.ready(t, domain)
	box := makeMailbox(s.ns, "protocollo", s.domain)
	holds := func(bytes, messages, sent int64) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) {
			e.Usage[box.Address()] = admin.Usage{Bytes: bytes, Messages: messages, SentInMonth: sent,
				Ages: &mailage.Ages{Month: 300 << 20, Year: 400 << 20, Since: time.Now().AddDate(0, 0, -29)}}
		})
	}
	s.create(t, box)
	s.ready(t, box)
	s.settle(t)
	holds(700<<20, 1000, 3200)
	s.restart() // and so all are looked at
	c := s.waitFor(t, box, v1alpha1.ConditionArchiveRecommended, metav1.ConditionTrue, v1alpha1.ReasonFillsSoon)
	full := func(from time.Time) v1alpha1.Date { // 324 MiB at 10 MB a day
		return v1alpha1.Date(from.UTC().AddDate(0, 0, 33).Format(time.DateOnly))
	}
	u := box.Status.Usage
	if *u.GrowthPerDay != 10e6 || u.FullOn != full(box.CreationTimestamp.Time) && u.FullOn != full(time.Now()) || *u.OldPercent != 40 || !strings.Contains(c.Message, string(u.FullOn)) {
		t.Errorf("growth %d, full on %s, %d %% old: %s", *u.GrowthPerDay, u.FullOn, *u.OldPercent, c.Message)
	}
	s.waitFor(t, box, v1alpha1.ConditionUsageMatchesType, metav1.ConditionFalse, v1alpha1.ReasonSendsLikeMassive)
	s.wrote(t, box, 1)

	t.Run("a policy that archives it is named", func(t *testing.T) {
		s.create(t, archive(s.ns), ordinary(s.ns, s.domain, "ordinary", "archive"))
		s.request(t, box, "policy")
		c := s.waitFor(t, box, v1alpha1.ConditionArchiveRecommended, metav1.ConditionFalse, v1alpha1.ReasonArchivedByPolicy)
		if !strings.Contains(c.Message, "RetentionPolicy ordinary") {
			t.Error(c.Message)
		}
	})

	t.Run("a busy hour is no write, also not after a restart", func(t *testing.T) {
		s.settle(t)
		holds(705<<20, 1040, 3260)
		measured := func() (n int) {
			s.pods.With(t, s.domain, func(e *apitest.Engine) { n = e.Measured })
			return n
		}
		before := measured()
		s.restart() // and so it is looked at again
		eventually(t, func() error {
			if measured() == before {
				return errors.New("nobody looked")
			}
			return nil
		})
		time.Sleep(500 * time.Millisecond) // the pass that looked may write
		s.wrote(t, box, 0)
	})

	t.Run("what was emptied needs no archive", func(t *testing.T) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Usage[box.Address()] = admin.Usage{Ages: &mailage.Ages{}} })
		s.restart()
		s.waitFor(t, box, v1alpha1.ConditionUsageMatchesType, metav1.ConditionTrue, v1alpha1.ReasonMatchesType)
		if c := meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionArchiveRecommended); c != nil || box.Status.Usage.FullOn != "" {
			t.Errorf("it says %v, full on %q", c, box.Status.Usage.FullOn)
		}
	})
}

func TestWhatIsUsedIsJudgedByTheQuotaInForce(t *testing.T) {
	s := newSite(t, "nuovequote", siteOptions{})
	domain := s.makeDomain()
	s.provide(t)
	box := makeMailbox(s.ns, "protocollo", s.domain)
	s.create(t, domain, password(s.ns, hashed), box)
	s.ready(t, domain, box)
	measured := 0
	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		e.Usage[box.Address()] = admin.Usage{Bytes: 1000 << 20, Messages: 9}
	})
	s.request(t, box, "look")
	s.waitFor(t, box, v1alpha1.ConditionQuotaHealthy, metav1.ConditionFalse, v1alpha1.ReasonOverQuota)
	s.settle(t)
	s.pods.With(t, s.domain, func(e *apitest.Engine) { measured = e.Measured })
	for _, c := range []struct {
		quota   string
		percent int32
		status  metav1.ConditionStatus
		reason  string
	}{
		{"4Gi", 24, metav1.ConditionTrue, v1alpha1.ReasonWithinQuota},
		{"500Mi", 200, metav1.ConditionFalse, v1alpha1.ReasonOverQuota},
	} {
		update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Quota = ptr.To(resource.MustParse(c.quota)) })
		s.waitFor(t, box, v1alpha1.ConditionQuotaHealthy, c.status, c.reason)
		if box.Status.Quota != c.quota || *box.Status.Usage.Percent != c.percent {
			t.Errorf("of %s, %d %% are used", box.Status.Quota, *box.Status.Usage.Percent)
		}
		s.wrote(t, box, 1)
	}
	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		if e.Measured != measured {
			t.Error("the stack was asked for what is used, which is known")
		}
	})
}
