package pecdomain

import (
	"context"
	"fmt"
	"time"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// RefreshIndexAnnotation on a PECDomain asks for a download of the providers' index now; a new value asks again.
const RefreshIndexAnnotation = "pec-operator.dev/refresh-index"

// indexMaxAge is how old a downloaded index may be: a day of its own, and one in which the source may be away.
const indexMaxAge = 48 * time.Hour

// judgeIndexAndSeals says how fresh the downloaded index is and whether the log is sealed, as the engine told; and passes a person's demand for the
// index on.
func judgeIndexAndSeals(ctx context.Context, s *scope) (reconcile.Result, error) {
	sealed, reason, message := judgeSeals(s.engineStatus.Evidence.Seals)
	s.set(v1alpha1.ConditionEvidenceSealed, sealed, reason, message)
	url := s.domain.Spec.Provider.Managed.ProvidersIndex.URL
	if url == "" {
		return reconcile.Result{}, nil
	}
	if demand := s.domain.Annotations[RefreshIndexAnnotation]; demand != "" && demand != s.engineStatus.Index.Handled {
		if err := s.engine.RefreshIndex(ctx, admin.Refresh{Token: demand}); err != nil {
			return reconcile.Result{}, reconcile.Waiting(soon, v1alpha1.ConditionIndexFresh, v1alpha1.ReasonEngineUnreachable,
				"the engine cannot be asked for the providers' index: "+engines.Why(err))
		}
	}
	if _, missing := s.Said(v1alpha1.ConditionIndexFresh); !missing {
		fresh, reason, message := judgeIndex(s.engineStatus.Index, url, s.Now)
		s.set(v1alpha1.ConditionIndexFresh, fresh, reason, message)
	}
	return reconcile.Result{RequeueAfter: later}, nil
}

func (s *scope) set(condition string, good bool, reason, message string) {
	if good {
		s.True(condition, reason, message)
		return
	}
	s.False(condition, reason, message)
}

// judgeSeals says whether the log is sealed as it must be. Pure.
func judgeSeals(seals admin.Seals) (sealed bool, reason, message string) {
	switch {
	case seals.Late:
		return false, v1alpha1.ReasonSealLate, fmt.Sprintf("%d days wait for their seal and %d seals for their time-stamp, some for more than a day: %s; mail is not held up",
			seals.Unsealed, seals.Unstamped, seals.LastError)
	case seals.Day == "":
		return true, v1alpha1.ReasonDaysSealed, "no day of the event log has ended yet"
	case !seals.Stamping:
		return true, v1alpha1.ReasonDaysSealed, "the event log is sealed up to " + seals.Day + ", without time-stamps: give provider.managed.timestamping"
	}
	return true, v1alpha1.ReasonDaysSealed, "the event log is sealed and time-stamped up to " + seals.Day
}

// judgeIndex says whether the downloaded index is fresh. Its age is told by the day it is of, so that the words do not change with each pass. Pure.
func judgeIndex(index admin.Index, url string, now time.Time) (fresh bool, reason, message string) {
	why := ""
	if index.LastError != "" {
		why = ": " + index.LastError
	}
	switch {
	case index.Fetched.IsZero():
		return false, v1alpha1.ReasonIndexStale, "the providers' index was never downloaded from " + url + why
	case now.Sub(index.Fetched) > indexMaxAge:
		return false, v1alpha1.ReasonIndexStale, fmt.Sprintf("the providers' index was last downloaded from %s at %s; that copy stays in force%s", url, index.Fetched.UTC().Format(time.RFC3339), why)
	case index.Unlisted:
		return true, v1alpha1.ReasonIndexDownloaded, "the providers' index is of " + index.Fetched.UTC().Format(time.RFC3339) +
			" and does not list this engine's signing certificate: other providers take its mail for ordinary mail; publish the record that pec-operator index record prints"
	}
	return true, v1alpha1.ReasonIndexDownloaded, "the providers' index is of " + index.Fetched.UTC().Format(time.RFC3339)
}
