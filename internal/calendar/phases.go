package calendar

// Name is the name of a phase.
type Name string

// The phases that a letter promises.
const (
	Freeze        Name = "Freeze"        // no box is opened, closed or given a new password
	RequestsClose Name = "RequestsClose" // the last moment to ask for a box to be moved
	BlockSending  Name = "BlockSending"  // the old boxes send no more
	OldReadOnly   Name = "OldReadOnly"   // the old content can be read, at a temporary endpoint
	OpenNew       Name = "OpenNew"       // the new boxes are usable
	Archive       Name = "Archive"       // the old content is archived
	Destroy       Name = "Destroy"       // the old content is deleted
)

// The phases that no letter prints: they follow from the others.
const (
	Copy       Name = "Copy"       // a pass that copies what is new, once a day from RequestsClose to BlockSending
	FinalDelta Name = "FinalDelta" // the last pass, when nothing changes any more
	Verify     Name = "Verify"     // every source against its copy
	CutOver    Name = "CutOver"    // mail goes to the new boxes
)

// IfMissed is what to do with a slot that did not start within [Grace] of being due.
type IfMissed string

const (
	// RunLate acts as soon as possible, unless the phase's end has passed.
	RunLate IfMissed = "RunLate"
	// Skip never acts: the slot is shown as missed. The end of a phase is never skipped but runs late, for what began must end.
	Skip IfMissed = "Skip"
	// Hold waits for a person's [Override]. It is what an empty IfMissed means, and it is forced on irreversible phases.
	Hold IfMissed = "Hold"
)

// kind is what there is to know about a phase of that name.
type kind struct {
	name         Name
	span         bool     // may have an end
	endless      bool     // a span that may also have none
	work         bool     // runs in windows; the other phases keep to the letter's clock
	irreversible bool     // whatever the plan says
	derived      bool     // not for a plan to write
	follows      Name     // has no time of its own: begins when that phase is done
	ifMissed     IfMissed // whatever the plan says
}

var kinds = []kind{
	{name: Freeze, span: true},
	{name: RequestsClose},
	{name: Copy, derived: true, work: true, ifMissed: Skip}, // the next pass, or the final delta, copies the same and more
	{name: BlockSending},
	{name: OldReadOnly, span: true, endless: true},
	{name: FinalDelta, derived: true, work: true, ifMissed: RunLate}, // without it nothing may be opened
	{name: Verify, derived: true, follows: FinalDelta, work: true, ifMissed: RunLate},
	{name: CutOver, derived: true, follows: Verify, ifMissed: RunLate},
	{name: OpenNew},
	{name: Archive, span: true, endless: true, work: true},
	{name: Destroy, work: true, irreversible: true},
}

// moment is the beginning or the end of a phase.
type moment struct {
	phase Name
	ends  bool
}

func begins(n Name) moment { return moment{phase: n} }
func ends(n Name) moment   { return moment{phase: n, ends: true} }

// order is every rule between phases, as chains: what comes later in a chain is neither promised before nor acted on before
// what comes earlier. What a plan leaves out is left out of the chains too.
var order = [][]moment{
	{begins(Freeze), begins(RequestsClose), begins(BlockSending), begins(OldReadOnly), begins(Archive), begins(Destroy)},
	{begins(BlockSending), begins(FinalDelta), begins(Verify), begins(CutOver), begins(OpenNew), begins(Archive)},
	{begins(OldReadOnly), begins(FinalDelta)},
	{begins(Freeze), begins(OpenNew), ends(Freeze)},
	{begins(OpenNew), ends(OldReadOnly), begins(Archive), ends(Archive), begins(Destroy)},
}

// joints are where one span ends because another phase begins: two promises about one thing, and the latest wins.
var joints = []struct {
	thing      string
	span, next Name
}{
	{"the old content can be read until", OldReadOnly, Archive},
	{"the old content is kept until", Archive, Destroy},
}

func kindOf(n Name) (kind, bool) {
	for _, k := range kinds {
		if k.name == n {
			return k, true
		}
	}
	return kind{}, false
}
