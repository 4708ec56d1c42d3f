package pecdomain

import (
	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
)

// showAntivirus says how the stack's virus scanner stands. That mail waits for it is also a problem of the engine's, and so of
// StackReady; here is why, and since when.
func (s *scope) showAntivirus(a admin.Antivirus) {
	switch {
	case !a.Configured:
		s.False(v1alpha1.ConditionAntivirusFresh, v1alpha1.ReasonAntivirusAbsent,
			"messages are certified and delivered without being checked for viruses, which the rules of certified mail forbid: give spec.provider.managed.antivirus")
	case a.Problem != "":
		s.False(v1alpha1.ConditionAntivirusFresh, v1alpha1.ReasonAntivirusWaits, a.Problem)
	default:
		s.True(v1alpha1.ConditionAntivirusFresh, v1alpha1.ReasonDefinitionsFresh, "ClamAV answers and its definitions are fresh")
	}
}
