// Package v1alpha1 holds the custom resources of pec-operator.dev: what a platform team writes, and what the operator answers.
//
// It imports apimachinery only, so that any tool can read these kinds without the operator. Validation is CEL beside the
// fields; every bound exists because CEL cost and etcd objects must stay small whatever a user writes.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=pec-operator.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind here.
var GroupVersion = schema.GroupVersion{Group: "pec-operator.dev", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion by the name that generated code looks for.
var SchemeGroupVersion = GroupVersion

// AddToScheme registers the kinds, so that a client can decode them.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &PECDomain{}, &PECDomainList{}, &Mailbox{}, &MailboxList{},
		&MailboxMigration{}, &MailboxMigrationList{}, &RetentionPolicy{}, &RetentionPolicyList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
