package v1alpha1

// A condition's doc comment lists exactly what makes it True; a reason's says when it surfaces. A condition's reason is also
// the reason of the event that announces it and the value of the log key "reason".

// Conditions and reasons that kinds share.
const (
	// ConditionReady is True when this site, whatever the other one does, serves the object as specified (fields that NotInForce
	// names apart):
	//  - every condition that the kind's table summarises is True, and
	//  - none of its negative conditions is there.
	ConditionReady = "Ready"
	// ConditionReconciling is there, True, only while the operator works towards the spec or retries; kstatus reads it.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is there, True, only while retrying cannot help and a person must change something; kstatus reads it.
	ConditionStalled = "Stalled"
	// ConditionSuspended is there, True, only while spec.suspend is Reconciliation.
	ConditionSuspended = "Suspended"

	// ConditionNotInForce is there, True, only while the spec uses fields that this release stores and does not act on; its message
	// names them. Ready does not speak of them.
	ConditionNotInForce = "NotInForce"

	// ReasonServed surfaces when everything that Ready summarises is True.
	ReasonServed = "Served"
	// ReasonNotEvaluated surfaces when the pass ended before this condition could be judged; its message names what stopped it.
	ReasonNotEvaluated = "NotEvaluated"
	// ReasonRetrying surfaces when a call failed and is tried again with growing pauses.
	ReasonRetrying = "Retrying"
	// ReasonSuspended surfaces when spec.suspend keeps the operator from the object.
	ReasonSuspended = "SuspendedBySpec"
	// ReasonNamespaceNotGranted surfaces when the operator has no Role in the namespace; the message has the chart value to add.
	ReasonNamespaceNotGranted = "NamespaceNotGranted"
	// ReasonSecretMissing surfaces when a Secret that the spec names, or a key of it, is not there.
	ReasonSecretMissing = "SecretMissing"
	// ReasonFieldsStored surfaces when the spec uses fields that this release only stores.
	ReasonFieldsStored = "FieldsStored"
)

// Conditions and reasons of PECDomain.
const (
	// ConditionStackReady (Managed) is True when:
	//  - the stack's objects are applied as the spec says, and
	//  - its pod is ready, and
	//  - its engine answers over mutual TLS and names no problem.
	ConditionStackReady = "StackReady"
	// ReasonStackAvailable surfaces when the stack works.
	ReasonStackAvailable = "StackAvailable"
	// ReasonStackStarting surfaces when the stack's pod is not ready yet.
	ReasonStackStarting = "StackStarting"
	// ReasonEngineUnreachable surfaces when the engine does not answer, or not as this domain's engine.
	ReasonEngineUnreachable = "EngineUnreachable"
	// ReasonEngineProblem surfaces when the engine answers and names something it cannot do; the message repeats it.
	ReasonEngineProblem = "EngineProblem"
	// ReasonStackInvalid surfaces when no stack can be made of the spec.
	ReasonStackInvalid = "StackInvalid"

	// ConditionStorageReady (Managed) is True when every volume claim of the stack is there, as it was made.
	ConditionStorageReady = "StorageReady"
	// ReasonClaimsPresent surfaces when every claim is there with the size of the spec.
	ReasonClaimsPresent = "ClaimsPresent"
	// ReasonClaimsLarger surfaces when a claim is larger than the spec says: a volume cannot shrink under its mail.
	ReasonClaimsLarger = "ClaimsLarger"

	// ConditionClaimLost is there, True, only while a volume claim that was made is gone or was replaced. Nothing is made again:
	// an empty volume must never pass for a mailbox.
	ConditionClaimLost = "ClaimLost"
	// ReasonClaimMissing surfaces when a claim that was made is not there.
	ReasonClaimMissing = "ClaimMissing"
	// ReasonClaimReplaced surfaces when a claim has the name but not the identity of the one that was made.
	ReasonClaimReplaced = "ClaimReplaced"

	// ConditionCertificateValid (Managed) is True when the Secret of spec.provider.managed.tls holds a certificate that is
	// valid now, and its key.
	ConditionCertificateValid = "CertificateValid"
	// ConditionSigningReady (Managed) is True when the Secret of spec.provider.managed.signing holds a certificate that is
	// valid now, and its key.
	ConditionSigningReady = "SigningReady"
	// ReasonCertificateUsable surfaces when certificate and key fit each other and the certificate is valid now.
	ReasonCertificateUsable = "CertificateUsable"
	// ReasonCertificateUnreadable surfaces when the certificate or the key cannot be read as PEM.
	ReasonCertificateUnreadable = "CertificateUnreadable"
	// ReasonKeyMismatch surfaces when the key is not that of the certificate.
	ReasonKeyMismatch = "KeyMismatch"
	// ReasonCertificateExpired surfaces when the certificate is past its end, or before its beginning.
	ReasonCertificateExpired = "CertificateExpired"

	// ConditionIndexFresh (Managed) is True when the ConfigMap of spec.provider.managed.providersIndex holds the providers' index
	// and the roots of their certificates.
	ConditionIndexFresh = "IndexFresh"
	// ReasonIndexPresent surfaces when the index is there.
	ReasonIndexPresent = "IndexPresent"
	// ReasonIndexMissing surfaces when the ConfigMap, or a key of it, is not there.
	ReasonIndexMissing = "IndexMissing"

	// ConditionAntivirusFresh (Managed) is there only when spec.provider.managed.antivirus is given, and True when:
	//  - the stack's ClamAV answers, and
	//  - its definitions were refreshed within definitionsMaxAgeMinutes.
	//
	// While it is False, mail waits and nothing passes unchecked.
	ConditionAntivirusFresh = "AntivirusFresh"
	// ReasonDefinitionsFresh surfaces when the scanner works with fresh definitions.
	ReasonDefinitionsFresh = "DefinitionsFresh"
	// ReasonAntivirusWaits surfaces when nothing can be scanned: no answer, or definitions that are too old; the message says which.
	ReasonAntivirusWaits = "AntivirusWaits"

	// ConditionDirectoryInSync is True when the stack's directory holds the domain, and no row is open without its Mailbox.
	ConditionDirectoryInSync = "DirectoryInSync"
	// ReasonDomainPlaced surfaces when the directory holds the domain and agrees with the Mailbox resources.
	ReasonDomainPlaced = "DomainPlaced"

	// ConditionHostReady (Hosted) is True when the domain's host is there, Managed, lists this namespace, and its stack is Ready.
	ConditionHostReady = "HostReady"
	// ReasonHostServes surfaces when the host's stack is Ready and serves this namespace.
	ReasonHostServes = "HostServes"
	// ReasonHostNotFound surfaces when there is no PECDomain of the name that spec.provider.hosted.host gives.
	ReasonHostNotFound = "HostNotFound"
	// ReasonHostNotManaged surfaces when the host has no stack of its own.
	ReasonHostNotManaged = "HostNotManaged"
	// ReasonHostRefused surfaces when the host does not list this namespace in allowedNamespaces.
	ReasonHostRefused = "HostRefused"
	// ReasonHostNotReady surfaces when the host is not Ready itself; the message has its reason.
	ReasonHostNotReady = "HostNotReady"

	// ConditionDomainConflict is there, True, only while an older PECDomain in another namespace claims the same domain.
	ConditionDomainConflict = "DomainConflict"
	// ReasonDomainClaimed surfaces when an older PECDomain claims the domain; this one does nothing.
	ReasonDomainClaimed = "DomainClaimed"

	// ConditionAwaitingExternal (External) is there, True, only while somebody outside must act, or this operator must learn to.
	ConditionAwaitingExternal = "AwaitingExternal"
	// ReasonExternalNotWatched surfaces when the domain is External: this release stores it and watches nothing of it.
	ReasonExternalNotWatched = "ExternalNotWatched"

	// ConditionPeerReachable is there only when a peer is configured, and True when its API server answers this site's reader.
	ConditionPeerReachable = "PeerReachable"
	// ReasonPeerAnswers surfaces when the other site's API server answers.
	ReasonPeerAnswers = "PeerAnswers"
	// ReasonPeerUnreachable surfaces when the other site has not answered for 50 seconds.
	ReasonPeerUnreachable = "PeerUnreachable"
	// ReasonPeerIsSelf surfaces when what answers as the other site says that it is this one.
	ReasonPeerIsSelf = "PeerIsSelf"

	// ConditionSpecInSync is there only when a peer is configured, and True when both sites hold the same spec.
	ConditionSpecInSync = "SpecInSync"
	// ReasonSpecsEqual surfaces when both sites hold the same spec.
	ReasonSpecsEqual = "SpecsEqual"
	// ReasonSpecsDiffer surfaces when the other site holds another spec.
	ReasonSpecsDiffer = "SpecsDiffer"
	// ReasonPeerLacksObject surfaces when the other site answers and does not have the object.
	ReasonPeerLacksObject = "PeerLacksObject"
	// ReasonPeerUnknown surfaces when the other site's spec was never read, or is too old to judge by.
	ReasonPeerUnknown = "PeerUnknown"
)

// Conditions and reasons of Mailbox.
const (
	// ConditionCredentialsValid is True when the Secret holds a password or hash that this operator accepts.
	ConditionCredentialsValid = "CredentialsValid"
	// ReasonCredentialsAccepted surfaces when the password or hash is good.
	ReasonCredentialsAccepted = "CredentialsAccepted"
	// ReasonPasswordUnusable surfaces when the password is too short, too long, or has control characters.
	ReasonPasswordUnusable = "PasswordUnusable"
	// ReasonHashUnusable surfaces when the Secret holds a hash of a scheme or cost that the stack does not check.
	ReasonHashUnusable = "HashUnusable"

	// ConditionProvisioned is True when the row in the stack's directory says what the spec says.
	ConditionProvisioned = "Provisioned"
	// ReasonRowPlaced surfaces when the directory's row says what the spec says: the holder can log in with it now.
	ReasonRowPlaced = "RowPlaced"
	// ReasonDomainNotFound surfaces when the PECDomain of spec.domainRef is not in the namespace.
	ReasonDomainNotFound = "DomainNotFound"
	// ReasonDomainNotReady surfaces when the domain's stack cannot take mailboxes yet; the message has the domain's reason.
	ReasonDomainNotReady = "DomainNotReady"
	// ReasonAddressReserved surfaces when the address is one that the provider itself sends or receives as.
	ReasonAddressReserved = "AddressReserved"

	// ConditionUnderLegalHold is there, True, only while spec.legalHolds has an entry.
	ConditionUnderLegalHold = "UnderLegalHold"
	// ReasonHoldListed surfaces when a hold is listed; the message has the references.
	ReasonHoldListed = "HoldListed"
)
