package pecdomain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/internal/contract"
)

func TestJudgeContract(t *testing.T) {
	one := ptr.To(int64(1))
	claims := []contract.Claim{
		{Address: "a@own", Domain: "own", Has: &contract.Holding{Type: contract.Standard, Bytes: 1 << 30}},
		{Address: "b@guest", Domain: "guest", Has: &contract.Holding{Type: contract.Standard, Bytes: 1}},
		{Address: "c@guest", Domain: "guest", Wants: &contract.Holding{Type: contract.Standard, Bytes: 1}},
	}
	page := func(c contract.Contract) *contracts.Page {
		return &contracts.Page{Contract: c, Outcome: contract.Decide(c, claims)}
	}
	from := &v1alpha1.Contract{From: &v1alpha1.DomainReference{Name: "own"}}
	for name, c := range map[string]struct {
		domain     string
		spec       *v1alpha1.Contract
		page       *contracts.Page
		wantReason string
		wantSays   string
		want       *v1alpha1.ContractStatus
	}{
		"room for all": {"own", &v1alpha1.Contract{}, page(contract.Contract{Reference: "C-1"}), v1alpha1.ReasonWithinContract, "contract C-1 allows",
			status(3, 2, 0)},
		"more than it allows": {"own", &v1alpha1.Contract{}, page(contract.Contract{Reference: "C-1", Terms: contract.Terms{Standard: one}}),
			v1alpha1.ReasonOverContract, "2 Standard mailboxes of 1", status(2, 2, 1, "StandardMailboxes")},
		"a part that draws": {"guest", from, page(contract.Contract{Reference: "C-1", Parts: map[string]contract.Terms{"guest": {Standard: one}}}),
			v1alpha1.ReasonWithinContract, "the part of guest in contract C-1", &v1alpha1.ContractStatus{Reference: "C-1", Held: ptr.To(int32(1)),
				Used: v1alpha1.ContractUse{Standard: ptr.To(int32(1)), Massive: ptr.To(int32(0)), Closed: ptr.To(int32(1)), StorageGiB: ptr.To(int32(1))}}},
		"a domain that draws nothing yet": {"new", from, page(contract.Contract{Reference: "C-1"}), v1alpha1.ReasonWithinContract, "",
			&v1alpha1.ContractStatus{Reference: "C-1", Held: ptr.To(int32(0)),
				Used: v1alpha1.ContractUse{Standard: ptr.To(int32(0)), Massive: ptr.To(int32(0)), Closed: ptr.To(int32(0)), StorageGiB: ptr.To(int32(0))}}},
		"over its last day": {"own", &v1alpha1.Contract{}, page(contract.Contract{Reference: "C-1", Ended: true}), v1alpha1.ReasonContractEnded, "contract.validUntil",
			status(2, 2, 1)},
		"no pool": {"guest", from, &contracts.Page{Unusable: "there is none"}, v1alpha1.ReasonPoolUnusable, "there is none", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := &v1alpha1.PECDomain{}
			d.Name, d.Spec.Contract = c.domain, c.spec
			condition, status := judgeContract(d, c.page)
			if condition.Reason != c.wantReason || !strings.Contains(condition.Message, c.wantSays) {
				t.Errorf("%s: %s", condition.Reason, condition.Message)
			}
			if diff := cmp.Diff(c.want, status); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

// status is that of the whole contract in these tests: two closed mailboxes of a little more than a GiB, and who is admitted.
func status(standard, storageGiB, held int32, over ...v1alpha1.ContractLimit) *v1alpha1.ContractStatus {
	return &v1alpha1.ContractStatus{Reference: "C-1", Held: &held, Over: over,
		Used: v1alpha1.ContractUse{Standard: &standard, Massive: ptr.To(int32(0)), Closed: ptr.To(int32(2)), StorageGiB: &storageGiB}}
}
