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
	// ReasonServed surfaces when everything that Ready summarises is True.
	ReasonServed = "Served"
	// ReasonNotEvaluated surfaces when the pass ended before this condition could be judged; its message names what stopped it.
	ReasonNotEvaluated = "NotEvaluated"
	// ReasonNamespaceNotGranted surfaces when the operator has no Role in the namespace; the message has the chart value to add.
	ReasonNamespaceNotGranted = "NamespaceNotGranted"
	// ReasonSecretMissing surfaces when a Secret that the spec names, or a key of it, is not there.
	ReasonSecretMissing = "SecretMissing"

	// ConditionReconciling is there, True, only while the operator works towards the spec or retries; kstatus reads it.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is there, True, only while retrying cannot help and a person must change something; kstatus reads it.
	ConditionStalled = "Stalled"
	// ReasonRetrying surfaces when a call failed and is tried again with growing pauses.
	ReasonRetrying = "Retrying"

	// ConditionClocksAgree is True when no two dates of the spec promise two ends for one thing:
	//  - of a RetentionPolicy, archive.keepMonths and afterClosure.archiveUntil for what is archived today, and
	//  - of a MailboxMigration, the phases and deadlines of its letter.
	//
	// Where there are two, the later counts.
	ConditionClocksAgree = "ClocksAgree"
	// ReasonOnePromise surfaces when there is one date for each thing; months that end in the month of a day are one with it.
	ReasonOnePromise = "OnePromise"
	// ReasonLatestPromiseWins surfaces when there are two for one thing; the message has both, and the later counts.
	ReasonLatestPromiseWins = "LatestPromiseWins"

	// ConditionSuspended is there, True, only while spec.suspend is Reconciliation.
	ConditionSuspended = "Suspended"
	// ReasonSuspended surfaces when spec.suspend keeps the operator from the object.
	ReasonSuspended = "SuspendedBySpec"

	// ConditionNotInForce is there, True, only while the spec uses fields that this release stores and does not act on; its message
	// names them. Ready does not speak of them.
	ConditionNotInForce = "NotInForce"
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

	// ConditionCertificateValid (Managed) is True when the Secret of spec.provider.managed.tls, one's own or the one that cert-manager
	// fills, holds a certificate that is valid now, and its key.
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
	// ReasonCertManagerAbsent surfaces when tls.issuerRef is given and the cluster has no cert-manager, or the chart's value certManager does
	// not let the operator use it.
	ReasonCertManagerAbsent = "CertManagerAbsent"
	// ReasonCertificatePending surfaces when cert-manager has not issued the certificate yet.
	ReasonCertificatePending = "CertificatePending"
	// ReasonCertificateFailed surfaces when cert-manager says that it could not issue the certificate; the message repeats why.
	ReasonCertificateFailed = "CertificateFailed"
	// ReasonCertificateExpired surfaces when the certificate is past its end, or before its beginning.
	ReasonCertificateExpired = "CertificateExpired"

	// ConditionIndexFresh (Managed) is True when the ConfigMap of spec.provider.managed.providersIndex holds the roots of the providers'
	// certificates and the index; with a url, when the index was downloaded within two days.
	ConditionIndexFresh = "IndexFresh"
	// ReasonIndexPresent surfaces when the index is there.
	ReasonIndexPresent = "IndexPresent"
	// ReasonIndexDownloaded surfaces when the index was downloaded within two days.
	ReasonIndexDownloaded = "IndexDownloaded"
	// ReasonIndexStale surfaces when the last good download is more than two days old, or there was none; the message says why. The last good
	// copy stays in force.
	ReasonIndexStale = "IndexStale"
	// ReasonIndexMissing surfaces when the ConfigMap, or a key of it, is not there.
	ReasonIndexMissing = "IndexMissing"

	// ConditionEvidenceSealed (Managed) is True when every day of the event log that ended more than a day ago is signed and, with
	// spec.provider.managed.timestamping, time-stamped. It holds up no mail, and Ready does not depend on it.
	ConditionEvidenceSealed = "EvidenceSealed"
	// ReasonDaysSealed surfaces when no day is late.
	ReasonDaysSealed = "DaysSealed"
	// ReasonSealLate surfaces when a day ended more than a day ago and has no seal, or no time-stamp; the message says why.
	ReasonSealLate = "SealLate"
	// ConditionAntivirusFresh (Managed) is True when:
	//  - spec.provider.managed.antivirus is given,
	//  - the stack's ClamAV answers, and
	//  - its definitions were refreshed within definitionsMaxAgeMinutes.
	//
	// While it is False with a scanner, mail waits and nothing passes unchecked. Without one everything passes; Ready does not depend on it.
	ConditionAntivirusFresh = "AntivirusFresh"
	// ReasonDefinitionsFresh surfaces when the scanner works with fresh definitions.
	ReasonDefinitionsFresh = "DefinitionsFresh"
	// ReasonAntivirusAbsent surfaces when the stack has no scanner: no message is checked, which no accredited provider may allow.
	ReasonAntivirusAbsent = "AntivirusAbsent"
	// ReasonAntivirusWaits surfaces when nothing can be scanned: no answer, or definitions that are too old; the message says which.
	ReasonAntivirusWaits = "AntivirusWaits"

	// ConditionDirectoryInSync is True when the stack's directory holds the domain, and takes mailboxes.
	ConditionDirectoryInSync = "DirectoryInSync"
	// ReasonDomainPlaced surfaces when the directory holds the domain.
	ReasonDomainPlaced = "DomainPlaced"
	// ReasonDomainNotLocal surfaces when the directory holds the domain and its MX was not seen to name this stack, or was seen to name another
	// provider for long: logins and migrations work, mail goes where the MX says.
	ReasonDomainNotLocal = "DomainNotLocal"

	// ConditionRowsLeftOpen (Managed) is there, True, only while mailboxes that were deleted, or whose domain has moved, could not be closed on
	// this stack: who knows the password of one still gets in. It holds up neither the domain nor the other mailboxes; Ready does not depend on it.
	ConditionRowsLeftOpen = "RowsLeftOpen"
	// ReasonClosingRefused surfaces when the engine answers that it does not close one; the message names it and says why.
	ReasonClosingRefused = "ClosingRefused"
	// ReasonClosingFails surfaces when the engine began to close one and did not come to the end, or gave no answer; it is tried again.
	ReasonClosingFails = "ClosingFails"

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

	// ConditionContractHonoured is there only when spec.contract is given, and True when no more is provisioned than the contract
	// allows and the contract is in force. Mail flows either way.
	ConditionContractHonoured = "ContractHonoured"
	// ReasonWithinContract surfaces when the contract covers it: of a domain, what is provisioned; of a mailbox, what it asks for.
	ReasonWithinContract = "WithinContract"
	// ReasonOverContract surfaces when more is provisioned than the contract allows, because it shrank. Nobody is turned out.
	ReasonOverContract = "OverContract"
	// ReasonContractEnded surfaces when the last day of the contract is over: nothing more is admitted, what is there stays.
	ReasonContractEnded = "ContractEnded"
	// ReasonPoolUnusable surfaces when spec.contract.from names no PECDomain, one that has no contract of its own, or one that does not list
	// this namespace in contract.allowedNamespaces; and when the domain's host refuses it, or another namespace claimed it first: its
	// mailboxes would take room in which they can never be.
	ReasonPoolUnusable = "PoolUnusable"

	// ConditionAwaitingExternal is there, True, only while somebody outside must act: who runs the domain's zone. The text to send
	// is in status.dns.recordRequest.
	ConditionAwaitingExternal = "AwaitingExternal"

	// ConditionDNSVerified is True when every address of every authoritative server of the domain's zone answers with authority
	// and has exactly the wanted MX set; or when spec.dns.mode is Ignore.
	ConditionDNSVerified = "DNSVerified"
	// ReasonMXOurs surfaces when the MX set is exactly the wanted one.
	ReasonMXOurs = "MXOurs"
	// ReasonDNSIgnored surfaces when spec.dns.mode is Ignore.
	ReasonDNSIgnored = "DNSIgnored"
	// ReasonDNSNotLookedAt surfaces when no round over the servers has ended yet.
	ReasonDNSNotLookedAt = "DNSNotLookedAt"
	// ReasonNoMailHosts surfaces when nobody says which hosts the MX set should name: the host's PECDomain is not there, or does not serve this one.
	ReasonNoMailHosts = "NoMailHosts"
	// ReasonRecordRequested surfaces when the records are asked for from who runs the zone.
	ReasonRecordRequested = "RecordRequested"
	// ReasonRecordOverdue surfaces when the records that were asked for are not there after the deadline.
	ReasonRecordOverdue = "RecordOverdue"
	// ReasonForeignMX surfaces when the MX set is another provider's, which is never touched.
	ReasonForeignMX = "ForeignMX"
	// ReasonHybridMX surfaces when the MX set has our hosts and another's, for which the domain may leave the certified list.
	ReasonHybridMX = "HybridMX"
	// ReasonOwnedByOther surfaces when the owner text is another operator's, or of a later epoch.
	ReasonOwnedByOther = "OwnedByOther"
	// ReasonAlias surfaces when the name is an alias, lies under one, or a wildcard answers for it.
	ReasonAlias = "Alias"
	// ReasonLame surfaces when a listed server answers without authority, or refuses.
	ReasonLame = "Lame"
	// ReasonUnverifiable surfaces when a server does not answer, or two differ.
	ReasonUnverifiable = "Unverifiable"
	// ReasonMXWriting surfaces when a write is about to be made, or waits for its time; the message says for what.
	ReasonMXWriting = "MXWriting"
	// ReasonOtherSiteWrites surfaces when the other site is the one that writes.
	ReasonOtherSiteWrites = "OtherSiteWrites"
	// ReasonWriteBudgetSpent surfaces when the set was put back as often as is allowed and changed again.
	ReasonWriteBudgetSpent = "WriteBudgetSpent"
	// ReasonCutOver surfaces when a change of provider is under way; status.dns.cutOver has the phase.
	ReasonCutOver = "CutOver"

	// ConditionDNSOwned is there only with spec.dns.mode RFC2136, and True when the owner text beside the MX set is this
	// operator's. While it is False for a reason other than MarkMissing the domain is kept as with VerifyOnly.
	ConditionDNSOwned = "DNSOwned"
	// ReasonMarkOurs surfaces when the owner text is this operator's.
	ReasonMarkOurs = "MarkOurs"
	// ReasonMarkMissing surfaces when the owner text is not there, or not this operator's.
	ReasonMarkMissing = "MarkMissing"
	// ReasonOperatorUnnamed surfaces when the chart's value dns.operatorID, which the owner text starts with, is not set.
	ReasonOperatorUnnamed = "OperatorUnnamed"
	// ReasonTSIGKeyUnusable surfaces when the Secret of the TSIG key is not there or cannot be used.
	ReasonTSIGKeyUnusable = "TSIGKeyUnusable"
	// ReasonZoneMismatch surfaces when the domain is not in the zone that spec.dns.rfc2136.zone names.
	ReasonZoneMismatch = "ZoneMismatch"
	// ReasonClocksDiffer surfaces when the primary refused an update because its clock and ours differ (BADTIME).
	ReasonClocksDiffer = "ClocksDiffer"
	// ReasonTSIGKeyRefused surfaces when the primary does not know the key (BADKEY, BADSIG).
	ReasonTSIGKeyRefused = "TSIGKeyRefused"
	// ReasonUpdateRefused surfaces when the key is good and the primary refuses the update, or takes none of this zone.
	ReasonUpdateRefused = "UpdateRefused"
	// ReasonUpdateFailed surfaces when the primary could not be reached, or failed.
	ReasonUpdateFailed = "UpdateFailed"

	// ConditionDNSRecordsSound is there once the records and hosts beside the MX set were looked at, and True when none of them is
	// Faulty; status.dns.checks has each.
	ConditionDNSRecordsSound = "DNSRecordsSound"
	// ReasonRecordsSound surfaces when no check found a fault.
	ReasonRecordsSound = "RecordsSound"
	// ReasonRecordsFaulty surfaces when a check found a fault; the message names the first.
	ReasonRecordsFaulty = "RecordsFaulty"

	// ConditionStoresInSync (Managed) is there only when a peer is configured, and True when the digests of what both sites' stores hold
	// (folder, GUID and flags of every message) agree for every mailbox of the stack, but for mail that arrived within two minutes. It is
	// told by the digests, never by what a sync says of itself.
	ConditionStoresInSync = "StoresInSync"
	// ReasonStoresEqual surfaces when both sites' stores hold the same mail.
	ReasonStoresEqual = "StoresEqual"
	// ReasonStoresMerging surfaces when a mailbox differs for more than two minutes: after the line was cut that is normal.
	ReasonStoresMerging = "StoresMerging"
	// ReasonStoresDiverged surfaces when a mailbox has differed for half an hour though its syncs were made; status.sites[].stores names it.
	ReasonStoresDiverged = "StoresDiverged"
	// ReasonStoresNotCompared surfaces when not every mailbox was compared yet, and while the other site's release makes no digests.
	ReasonStoresNotCompared = "StoresNotCompared"
	// ReasonSingleSite surfaces when spec.provider.managed.mailHosts gives no other site a peerLink: there is no second store.
	ReasonSingleSite = "SingleSite"
	// ReasonPeerLinkRefused surfaces when the engine does not take where the other site is, or its certificates; the message says why.
	ReasonPeerLinkRefused = "PeerLinkRefused"

	// ConditionServiceLevelMet is there only when spec.serviceLevel is given, and True when in the running period of four months (DM 2
	// November 2005, art. 12):
	//  - the service was down for no longer, in all, than the promised percentage allows, and
	//  - no outage lasted longer than half of that.
	//
	// The service is down when submission, IMAP or every mail host greets at no address of its name, of either building, in two looks in a
	// row. Time in which the operator could not look counts neither way. Mail flows whatever this says.
	ConditionServiceLevelMet = "ServiceLevelMet"
	// ReasonWithinServiceLevel surfaces when the service was down for no longer than the period allows.
	ReasonWithinServiceLevel = "WithinServiceLevel"
	// ReasonAvailabilityMissed surfaces when the service was down, in all, for longer than the period allows.
	ReasonAvailabilityMissed = "AvailabilityMissed"
	// ReasonOutageTooLong surfaces when one outage lasted longer than half of what the period allows.
	ReasonOutageTooLong = "OutageTooLong"
	// ReasonServiceNotMeasured surfaces when nobody has looked in this period yet, or the ledger of what was seen cannot be read.
	ReasonServiceNotMeasured = "ServiceNotMeasured"
	// ReasonOutageBegan surfaces when the promised service answers nowhere; the note has since when, and what does not answer.
	ReasonOutageBegan = "OutageBegan"
	// ReasonOutageEnded surfaces when the promised service answers again; the note has from when to when it did not.
	ReasonOutageEnded = "OutageEnded"

	// ConditionPeerReachable is there only when a peer is configured, and True when its API server answers this site's reader.
	ConditionPeerReachable = "PeerReachable"
	// ReasonPeerAnswers surfaces when the other site's API server answers.
	ReasonPeerAnswers = "PeerAnswers"
	// ReasonPeerUnreachable surfaces when the other site has not answered for 50 seconds.
	ReasonPeerUnreachable = "PeerUnreachable"
	// ReasonPeerIsSelf surfaces when what answers as the other site says that it is this one.
	ReasonPeerIsSelf = "PeerIsSelf"

	// ConditionSpecInSync is there only when a peer is configured, and True when:
	//  - both sites hold the same spec of the domain, and
	//  - both hold the same Mailbox resources of it, each with the same spec, and
	//  - of each mailbox on a stack of ours both have the same type, quota and access in force.
	ConditionSpecInSync = "SpecInSync"
	// ReasonSpecsEqual surfaces when both sites hold the same specs.
	ReasonSpecsEqual = "SpecsEqual"
	// ReasonSpecsDiffer surfaces when the other site holds another spec of the domain.
	ReasonSpecsDiffer = "SpecsDiffer"
	// ReasonMailboxesDiffer surfaces when the sites have held different Mailbox resources for a minute, and only the domain's own spec is
	// the same; status.sites[].specs counts and names them.
	ReasonMailboxesDiffer = "MailboxesDiffer"
	// ReasonInForceDiffers surfaces when the sites hold the same Mailbox resources and, for a minute, have not the same in force of them: a
	// contract held at one what it admitted at the other, or a mailbox is not made there; status.sites[].specs counts and names them.
	ReasonInForceDiffers = "InForceDiffers"
	// ReasonPeerLacksObject surfaces when the other site answers and does not have the object.
	ReasonPeerLacksObject = "PeerLacksObject"
	// ReasonPeerUnknown surfaces when the other site's spec was never read, or is too old to judge by.
	ReasonPeerUnknown = "PeerUnknown"
)

// Conditions and reasons of Mailbox.
const (
	// ConditionAdmitted is True when the domain's contract covers the mailbox as the spec wants it, or the domain has none.
	ConditionAdmitted = "Admitted"
	// ReasonNoContract surfaces when the domain has no contract: every mailbox is admitted.
	ReasonNoContract = "NoContract"
	// ReasonHeldByContract surfaces when the contract has no room: the mailbox waits in a queue and is admitted by itself.
	ReasonHeldByContract = "HeldByContract"
	// ReasonMassiveNotGranted surfaces when the contract has no grant for a Massive mailbox.
	ReasonMassiveNotGranted = "MassiveNotGranted"
	// ReasonStackRecalling surfaces when the contract has room as far as is known, and a stack that was built anew does not know yet which
	// mailboxes were closed, which count: until the other site has told it, or has been silent for 15 minutes (--stand-in).
	ReasonStackRecalling = "StackRecalling"
	// ReasonQuotaNotGiven surfaces when neither the mailbox nor its domain says how much it may hold.
	ReasonQuotaNotGiven = "QuotaNotGiven"

	// ConditionCredentialsValid is True when the Secret holds a password or hash that this operator accepts, and of an External domain
	// one that its provider has not refused.
	ConditionCredentialsValid = "CredentialsValid"
	// ReasonCredentialsAccepted surfaces when the password or hash is good.
	ReasonCredentialsAccepted = "CredentialsAccepted"
	// ReasonPasswordUnusable surfaces when the password is too short, too long, or has control characters.
	ReasonPasswordUnusable = "PasswordUnusable"
	// ReasonHashUnusable surfaces when the Secret holds a hash of a scheme or cost that the stack does not check.
	ReasonHashUnusable = "HashUnusable"

	// ReasonAcceptedByProvider surfaces when the provider of an External domain let the operator in with the password.
	ReasonAcceptedByProvider = "AcceptedByProvider"
	// ReasonRefusedByProvider surfaces when the provider of an External domain refused address and password. They are not tried again
	// until the Secret or the provider is another: wrong passwords lock an account.
	ReasonRefusedByProvider = "RefusedByProvider"

	// ConditionWatched (External domain) is True when:
	//  - the provider answered the last look at the mailbox, or
	//  - the other site is the one that looks.
	ConditionWatched = "Watched"
	// ReasonProviderAnswers surfaces when the provider answered the last look.
	ReasonProviderAnswers = "ProviderAnswers"
	// ReasonPreferredSiteWatches surfaces when the domain's preferred site is the other one: it looks, and this one is quiet.
	ReasonPreferredSiteWatches = "PreferredSiteWatches"
	// ReasonFirstLook surfaces when the first look takes longer than some seconds.
	ReasonFirstLook = "FirstLook"
	// ReasonProviderUnreachable surfaces when the provider's IMAPS service does not answer, or not as IMAPS; the message says how.
	ReasonProviderUnreachable = "ProviderUnreachable"
	// ReasonProviderRefuses surfaces when the provider answers and does not open the mailbox now: it has too many connections, is closed
	// for some time, or has suspended the mailbox. It is asked again with growing pauses.
	ReasonProviderRefuses = "ProviderRefuses"

	// ConditionProvisioned is True when the row in the stack's directory says what the spec says.
	ConditionProvisioned = "Provisioned"
	// ReasonRowPlaced surfaces when the directory's row says what the spec says: the holder can log in with it now.
	ReasonRowPlaced = "RowPlaced"
	// ReasonReadopted surfaces when the mailbox had been closed and is open again, with the mail that it had.
	ReasonReadopted = "Readopted"
	// ReasonAddressTaken surfaces when the address belongs, open or closed, to a Mailbox of another namespace.
	ReasonAddressTaken = "AddressTaken"
	// ReasonDomainNotFound surfaces when the PECDomain of spec.domainRef is not in the namespace.
	ReasonDomainNotFound = "DomainNotFound"
	// ReasonDomainNotReady surfaces when the domain's stack cannot take mailboxes yet, its host does not list the namespace, or its engine
	// has been away for five minutes; the message has the domain's reason. Watched has it when another namespace claimed the External domain
	// first: nobody logs in for this one.
	ReasonDomainNotReady = "DomainNotReady"
	// ReasonEngineRefuses surfaces when the engine answers that it does not take the mailbox's row, or what its holder is given, as the spec
	// and the Secret make them; the message says why. Correct that; it is asked for again at each change, and at growing pauses. DirectoryInSync
	// has it when the engine does not take the domain.
	ReasonEngineRefuses = "EngineRefuses"
	// ReasonFrozen surfaces when the Freeze of a MailboxMigration away from the mailbox's domain holds its making or a change of it.
	ReasonFrozen = "Frozen"
	// ReasonAddressReserved surfaces when the address is one that the provider itself sends or receives as.
	ReasonAddressReserved = "AddressReserved"

	// ConditionQuotaHealthy is there once the mailbox's use was looked at, and True below 80 % of the quota. It is Unknown where nobody
	// says how much fits. The mailbox works either way.
	ConditionQuotaHealthy = "QuotaHealthy"
	// ReasonWithinQuota surfaces when less than 80 % of the quota is used.
	ReasonWithinQuota = "WithinQuota"
	// ReasonNearQuota surfaces when 80 % of the quota is used, until it is no more than 77 %.
	ReasonNearQuota = "NearQuota"
	// ReasonOverQuota surfaces when 95 % of the quota is used, until it is no more than 92 %: mail is refused soon, or already.
	ReasonOverQuota = "OverQuota"

	// ReasonQuotaNotOffered surfaces when the provider of an External domain tells no quota and the spec gives none.
	ReasonQuotaNotOffered = "QuotaNotOffered"
	// ReasonUseNotTold surfaces when the provider of an External domain tells no sizes, and there are too many messages to add up.
	ReasonUseNotTold = "UseNotTold"

	// ConditionArchiveRecommended is there only when the mailbox is used as an archive or fills up soon, and True when somebody has to do
	// something about it: half of it is more than a year old and takes a fifth of the quota, or the quota is reached within 60 days. It
	// is False while a RetentionPolicy archives the mailbox. The mailbox works either way.
	ConditionArchiveRecommended = "ArchiveRecommended"
	// ReasonOldMailKept surfaces when half of what the mailbox holds is more than a year old, until it is 40 %.
	ReasonOldMailKept = "OldMailKept"
	// ReasonFillsSoon surfaces when the quota is reached within 60 days at the rate of the last 30, until that is 75 days away.
	ReasonFillsSoon = "FillsSoon"
	// ReasonArchivedByPolicy surfaces when the mailbox keeps old mail, or fills up soon, and a RetentionPolicy archives it; the message names it.
	ReasonArchivedByPolicy = "ArchivedByPolicy"

	// ConditionUsageMatchesType is there once the mailbox's use was looked at, and True when it sends as its type says. The mailbox
	// works either way.
	ConditionUsageMatchesType = "UsageMatchesType"
	// ReasonMatchesType surfaces when the mailbox sends as its type says, or is Massive and less than 30 days old.
	ReasonMatchesType = "MatchesType"
	// ReasonSendsLikeMassive surfaces when more than 3000 messages of a Standard mailbox were accepted in 30 days, until they are no more than 2400.
	ReasonSendsLikeMassive = "SendsLikeMassive"
	// ReasonAboveExpected surfaces when one and a half times what spec.massive expects was accepted in 30 days, until it is no more than 1.2 times.
	ReasonAboveExpected = "AboveExpected"
	// ReasonBelowMassive surfaces when less than a tenth of what spec.massive expects was accepted in 30 days, and no more than a Standard
	// mailbox may send; until it is an eighth.
	ReasonBelowMassive = "BelowMassive"

	// ConditionUnderLegalHold is there, True, only while spec.legalHolds has an entry.
	ConditionUnderLegalHold = "UnderLegalHold"
	// ReasonHoldListed surfaces when a hold is listed; the message has the references.
	ReasonHoldListed = "HoldListed"

	// ConditionSecretsDiffer is there, True, only while the two sites are known, for a minute, to have been given different Secrets for the
	// mailbox: one password works at the one, another at the other. It says nothing of a site that is silent or has no Secret.
	ConditionSecretsDiffer = "SecretsDiffer"
	// ReasonSitesGivenOtherSecrets surfaces when the password that the Secret here gives is not the one of the other site's hash; of two
	// ready hashes, when they are not the same.
	ReasonSitesGivenOtherSecrets = "SitesGivenOtherSecrets"

	// ConditionSpamFilterMissing is there, True, only while spec.antispam is Enabled and the stack runs no spam filter: ordinary mail
	// is then not judged.
	ConditionSpamFilterMissing = "SpamFilterMissing"
	// ReasonStackWithoutFilter surfaces when the PECDomain whose stack serves the mailbox does not say provider.managed.antispam:
	// Enabled; the message names it.
	ReasonStackWithoutFilter = "StackWithoutFilter"
)

// Conditions and reasons of RetentionPolicy.
const (
	// ConditionArchiving is True when:
	//  - what the policy needs is there: its mailboxes' domains, the destination, the operator's Role in the namespace, and
	//  - the last run was not missed and ended with the work done on every mailbox, or none was due yet, or one is under way.
	ConditionArchiving = "Archiving"
	// ReasonArchived surfaces when the last run did the work on every mailbox.
	ReasonArchived = "Archived"
	// ReasonAwaitingFirstRun surfaces when no run was due yet; status.nextRun has the time of the first.
	ReasonAwaitingFirstRun = "AwaitingFirstRun"
	// ReasonRunUnderWay surfaces when a run's Job works or waits for its window.
	ReasonRunUnderWay = "RunUnderWay"
	// ReasonNothingToArchive surfaces when the policy has no archive, or no mailbox is selected.
	ReasonNothingToArchive = "NothingToArchive"
	// ReasonPreferredSiteArchives surfaces when the domains' preferred site is the other one: it archives, and this one looks on.
	ReasonPreferredSiteArchives = "PreferredSiteArchives"
	// ReasonRunFailed surfaces when the last run ended without some mailboxes; the message names them.
	ReasonRunFailed = "RunFailed"
	// ReasonRunMissed surfaces when the last run did not begin before the next was due.
	ReasonRunMissed = "RunMissed"
	// ReasonScheduleInvalid surfaces when no run can ever begin by spec.schedule.
	ReasonScheduleInvalid = "ScheduleInvalid"
	// ReasonDestinationMissing surfaces when the volume claim, or a Secret, of spec.archive.destination is not there.
	ReasonDestinationMissing = "DestinationMissing"

	// ConditionHoldsRespected is True when every legal hold on the policy or on a mailbox of it is in force: nothing of what it
	// covers is counted as due.
	ConditionHoldsRespected = "HoldsRespected"
	// ReasonNoHold surfaces when there is no legal hold.
	ReasonNoHold = "NoHold"
	// ReasonHoldsInForce surfaces when there is a legal hold; the message has the references.
	ReasonHoldsInForce = "HoldsInForce"

	// ConditionOverlapping is there, True, only while a policy of the same type selects mailboxes that this one selects too.
	ConditionOverlapping = "Overlapping"
	// ReasonFirstNameWins surfaces when mailboxes are under the policy whose name comes first; the message names some.
	ReasonFirstNameWins = "FirstNameWins"

	// ConditionWaitingForPeer is there, True, only while spec.remove is given, a peer is configured, and the lists of what is due
	// cannot be compared.
	ConditionWaitingForPeer = "WaitingForPeer"
	// ReasonOwnListUnknown surfaces when this site has no list yet, or none since the holds changed.
	ReasonOwnListUnknown = "OwnListUnknown"
	// ReasonPeerListUnknown surfaces when the other site does not answer, or shows no list of the same run.
	ReasonPeerListUnknown = "PeerListUnknown"
	// ReasonArchiveNotHere surfaces when this site does not archive and cannot read the archive either, so that it has no list.
	ReasonArchiveNotHere = "ArchiveNotHere"

	// ConditionDisputed is there, True, only while spec.remove is given and one site would remove what the other would not.
	ConditionDisputed = "Disputed"
	// ReasonListsDiffer surfaces when the lists of the same run differ; the message names up to ten mailboxes.
	ReasonListsDiffer = "ListsDiffer"
	// ReasonPeerLacksPolicy surfaces when messages are due here and the other site answers and has no such policy.
	ReasonPeerLacksPolicy = "PeerLacksPolicy"

	// ConditionRestored is there only while spec.restore is given, and True when what it asks for is in the mailbox.
	ConditionRestored = "Restored"
	// ReasonMessagesRestored surfaces when the restore ended well; status.restore counts the messages.
	ReasonMessagesRestored = "MessagesRestored"
	// ReasonRestoreUnderWay surfaces when the restore's Job works, or is about to.
	ReasonRestoreUnderWay = "RestoreUnderWay"
	// ReasonRestoreFailed surfaces when the restore's Job ended before everything was put back.
	ReasonRestoreFailed = "RestoreFailed"
	// ReasonRestoreRefused surfaces when no Job is begun: there is no such Mailbox in the namespace, its mail is not on a stack of this
	// operator, or the archive or the stack cannot be reached; the message says which.
	ReasonRestoreRefused = "RestoreRefused"
	// ReasonPreferredSiteRestores surfaces when the mailbox's preferred site is the other one: it restores, and this one shows it.
	ReasonPreferredSiteRestores = "PreferredSiteRestores"
)

// Conditions and reasons of MailboxMigration.
const (
	// ConditionSucceeded is True when every phase of the calendar is done and every listed mailbox's copy was proved complete. It is the
	// top condition of a kind that ends.
	ConditionSucceeded = "Succeeded"

	// ConditionCalendarSettled is True when the calendar makes a timetable, and the ledger of what was done is this migration's.
	ConditionCalendarSettled = "CalendarSettled"
	// ReasonTimetableMade surfaces when the calendar makes a timetable.
	ReasonTimetableMade = "TimetableMade"
	// ReasonCalendarInvalid surfaces when the calendar contradicts itself; the message has every fault.
	ReasonCalendarInvalid = "CalendarInvalid"
	// ReasonLedgerOfAnother surfaces when a ledger of this name tells of another source or target.
	ReasonLedgerOfAnother = "LedgerOfAnother"

	// ConditionTargetReady is True when the stack of the target's domain takes mailboxes at this site, and the source can be named.
	ConditionTargetReady = "TargetReady"
	// ReasonTargetServed surfaces when the stack takes mailboxes and the source can be named.
	ReasonTargetServed = "TargetServed"
	// ReasonPreferredSiteMigrates surfaces when the target's preferred site is the other one and has reported nothing yet: it acts, and
	// this one looks on.
	ReasonPreferredSiteMigrates = "PreferredSiteMigrates"
	// ReasonSourceUnusable surfaces when nothing can be copied from the source that the spec names.
	ReasonSourceUnusable = "SourceUnusable"

	// ConditionMailboxesCopied is True when every listed mailbox was verified: all of the source, byte for byte, is in the copy.
	ConditionMailboxesCopied = "MailboxesCopied"
	// ReasonMailboxesVerified surfaces when every listed mailbox was verified; the message has the counts.
	ReasonMailboxesVerified = "MailboxesVerified"
	// ReasonNotVerified surfaces when the verification is not done yet.
	ReasonNotVerified = "NotVerified"
	// ReasonMailboxesFailed surfaces when some mailboxes could not be copied or verified; the message says what to do.
	ReasonMailboxesFailed = "MailboxesFailed"

	// ConditionPhasesSettled is True when every phase is done or was left out.
	ConditionPhasesSettled = "PhasesSettled"
	// ReasonPhasesDone surfaces when every phase is done or was left out.
	ReasonPhasesDone = "PhasesDone"
	// ReasonPhasesAhead surfaces when the calendar is not over; the message has what runs and what comes next.
	ReasonPhasesAhead = "PhasesAhead"
	// ReasonPhaseHeld surfaces when a phase's time passed while nobody acted, and a person must decide.
	ReasonPhaseHeld = "PhaseHeld"
	// ReasonAwaitingCutOver surfaces when all is verified and a person must move the MX records and say so with another run.token.
	ReasonAwaitingCutOver = "AwaitingCutOver"
	// ReasonAwaitingAgreement surfaces when only Destroy is left: nothing is destroyed before both sites agree on the same list.
	ReasonAwaitingAgreement = "AwaitingAgreement"
	// ReasonDryRun surfaces when copy.dryRun keeps the migration from going beyond its copy passes.
	ReasonDryRun = "DryRun"

	// ReasonPhaseBegun surfaces when a phase, or a part of the work between them, begins.
	ReasonPhaseBegun = "PhaseBegun"
	// ReasonPhaseOver surfaces when a phase, or a part of the work between them, is done.
	ReasonPhaseOver = "PhaseOver"
	// ReasonPhaseMissed surfaces when a phase is left out because its time passed.
	ReasonPhaseMissed = "PhaseMissed"

	// ReasonOtherSiteSilent surfaces when the site that acts does not answer the one that looks on: dates are kept there,
	// nothing is copied.
	ReasonOtherSiteSilent = "OtherSiteSilent"
	// ReasonOtherSiteBehind surfaces when what the site that acts reports is of another spec than that of the one that looks on.
	ReasonOtherSiteBehind = "OtherSiteBehind"
	// ReasonListUnknown surfaces when the other site closed the list of mailboxes, and this spec has another one.
	ReasonListUnknown = "ListUnknown"

	// ConditionStandingIn is there, True, only while this site acts in the place of the preferred one, which is silent or has not
	// taken its part back.
	ConditionStandingIn = "StandingIn"
	// ReasonPreferredSiteSilent surfaces when the preferred site did not answer for long enough to act in its place.
	ReasonPreferredSiteSilent = "PreferredSiteSilent"

	// ConditionPromisesKept is there once spec.keep or the endpoint of OldReadOnly was looked at, and True when the holders will find all
	// of it as the letter promises. It holds nothing up, and stays as it was when the new mailboxes opened.
	ConditionPromisesKept = "PromisesKept"
	// ReasonAllKept surfaces when all that spec.keep and the endpoint promise was found so.
	ReasonAllKept = "AllKept"
	// ReasonPromiseBroken surfaces when something of it is not so; the message says what, and what to do.
	ReasonPromiseBroken = "PromiseBroken"
	// ReasonPromiseUnproved surfaces when nothing is found broken and something cannot be known here, or not yet.
	ReasonPromiseUnproved = "PromiseUnproved"

	// ConditionLateRequests is there, True, only while the spec lists mailboxes that were not listed when RequestsClose passed: they
	// are not moved.
	ConditionLateRequests = "LateRequests"
	// ReasonRequestsClosed surfaces when a mailbox was listed after the list closed; the message names it.
	ReasonRequestsClosed = "RequestsClosed"
)
