package stack

import (
	"github.com/pec-operator/pec-operator/internal/sieve"
	dc "github.com/pec-operator/pec-operator/internal/stack/dovecotconf"
)

// sieveExtensions are what scripts may use: tests, folders and flags. What answers (reject, ereject, vacation, notify), what
// changes a message (editheader), and what reads outside the mailbox are not among them.
var sieveExtensions = []string{
	"fileinto", "mailbox", "imap4flags", "envelope", "encoded-character", "regex", "relational",
	"copy", "body", "variables", "date", "index",
}

// dovecotSieve files arriving mail into folders. First run the rules that the engine wrote for the mailbox; if they left the
// message alone, the script that its holder chose over ManageSieve. No script loses a message: a delivery receipt tells the
// sender that it is there, so what would be dropped is kept, what would be sent elsewhere stays (no redirect at all), and a
// script that fails leaves its message in the inbox.
func dovecotSieve() []dc.Node {
	return []dc.Node{
		dc.Block("sieve_script", "rules",
			dc.Set("sieve_script_type", dc.Word("before")),
			dc.Set("sieve_script_path", dc.Template(rulesDir+"/@%{user | domain | lower}/%{user | username | lower}"+sieve.Suffix)), // sieve.Path
			dc.Set("sieve_script_bin_path", dc.Word("~/sieve-rules"))),                                                              // the rules themselves are on a volume that is only read
		dc.Block("sieve_script", "personal",
			dc.Set("sieve_script_type", dc.Word("personal")),
			dc.Set("sieve_script_path", dc.Word("~/sieve")),
			dc.Set("sieve_script_active_path", dc.Word("~/sieve-active"))),
		dc.Block("sieve_script", "kept",
			dc.Set("sieve_script_type", dc.Word("discard")),
			dc.Set("sieve_script_path", dc.Word(rulesDir+"/"+sieve.KeptFile)),
			dc.Set("sieve_script_bin_path", dc.Word("~/sieve-kept"))),
		dc.Set("sieve_extensions", dc.Words(sieveExtensions...)),
		dc.Set("sieve_max_redirects", dc.Int(0)),
		dc.Set("sieve_quota_script_count", dc.Int(16)),
		dc.Set("sieve_quota_storage_size", dc.Int(256<<10)),
	}
}
