package v1alpha1

// Suspend says whether the operator works on a resource.
// +kubebuilder:validation:Enum=None;Reconciliation
type Suspend string

const (
	// SuspendNone is the ordinary state: the operator works.
	SuspendNone Suspend = "None"
	// SuspendReconciliation makes the operator leave everything as it is; mail keeps flowing.
	SuspendReconciliation Suspend = "Reconciliation"
)

// DeletionPolicy says what becomes of the mail when a resource is deleted.
// +kubebuilder:validation:Enum=Retain
type DeletionPolicy string

// DeletionRetain keeps every message: deleting YAML closes a mailbox, it never empties it.
const DeletionRetain DeletionPolicy = "Retain"

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// SecretReference names a Secret in the same namespace whose keys are fixed by the field that holds it.
type SecretReference struct {
	// secretName is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
}

// SecretKeyReference names one key of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// key in the Secret; "password" when not given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}
