package stack

import (
	"github.com/pec-operator/pec-operator/internal/antispam"
	dc "github.com/pec-operator/pec-operator/internal/stack/dovecotconf"
	"github.com/pec-operator/pec-operator/internal/store"
)

// mailUser owns every mailbox and runs every process of Dovecot; uid and gid 5000 in the image.
const mailUser = "vmail"

// dovecotFile is dovecot.conf. The host names this server in the Received headers that LMTP adds.
func dovecotFile(host string) (string, error) {
	var nodes []dc.Node
	for _, part := range [][]dc.Node{
		dovecotGeneral(host), dovecotTLS(), dovecotMail(), dovecotQuota(), dovecotAccess(), dovecotSieve(), dovecotAccounts(), dovecotLoginPolicy(), dovecotLogins(), dovecotServices(),
	} {
		nodes = append(nodes, part...)
	}
	return dc.Render(nodes...)
}

func dovecotGeneral(host string) []dc.Node {
	return []dc.Node{
		// 2.4.0 here would mean lmtp_user_concurrency_limit 0: parallel deliveries to one user would be refused.
		dc.Set("dovecot_config_version", dc.Word("2.4.1")),
		dc.Set("dovecot_storage_version", dc.Word("2.4.1")),
		dc.Include(keysDir + "/" + KeyDoveadmConf), // doveadm_password, doveadm_api_key
		dc.Set("base_dir", dc.Word(dovecotRun+"/base")),
		dc.Set("state_dir", dc.Word(dovecotRun+"/state")),
		dc.Set("log_path", dc.Word("/dev/stderr")),
		dc.Set("hostname", dc.Word(host)),
		// One user for everything, and no chroot: then Dovecot needs no capability.
		dc.Set("default_internal_user", dc.Word(mailUser)),
		dc.Set("default_internal_group", dc.Word(mailUser)),
		dc.Set("default_login_user", dc.Word(mailUser)),
		dc.Block("protocols", "", dc.Set("imap", dc.Bool(true)), dc.Set("pop3", dc.Bool(true)), dc.Set("lmtp", dc.Bool(true)), dc.Set("sieve", dc.Bool(true))),
	}
}

func dovecotTLS() []dc.Node {
	return []dc.Node{
		dc.Set("ssl", dc.Word("required")),
		dc.Set("ssl_min_protocol", dc.Word("TLSv1.2")),
		dc.Set("ssl_server_cert_file", dc.Word(tlsDir+"/tls.crt")),
		dc.Set("ssl_server_key_file", dc.Word(tlsDir+"/tls.key")),
	}
}

func dovecotMail() []dc.Node {
	return []dc.Node{
		dc.Set("mail_driver", dc.Word("mdbox")),
		dc.Set("mail_home", dc.Template(mailDir+"/%{user | domain | lower}/%{user | username | lower}")),
		dc.Set("mail_path", dc.Word("~/mdbox")),
		dc.Set("mail_uid", dc.Word(mailUser)),
		dc.Set("mail_gid", dc.Word(mailUser)),
		dc.Set("first_valid_uid", dc.Int(1000)),
		dc.Set("mail_fsync", dc.Word("optimized")), //nolint:misspell // Dovecot's word; message and index logs are on disk before the 250
		dc.Set("recipient_delimiter", dc.Empty()),
		dc.Set("pop3_uidl_format", dc.Template("%{guid}")),
		dc.Block("mail_plugins", "", dc.Set("quota", dc.Bool(true)), dc.Set("lazy_expunge", dc.Bool(true)), dc.Set("acl", dc.Bool(true))),
		dc.Block("protocol", "imap", dc.Block("mail_plugins", "", dc.Set("imap_quota", dc.Bool(true)))),
		// The engine delivers what looks like spam to <local part>+<folder>; from elsewhere no such address gets past it.
		dc.Block("protocol", "lmtp",
			dc.Set("recipient_delimiter", dc.Text("+")),
			dc.Set("lmtp_save_to_detail_mailbox", dc.Bool(true)),
			dc.Set("lda_mailbox_autocreate", dc.Bool(true)),
			dc.Set("lda_mailbox_autosubscribe", dc.Bool(true)),
			dc.Block("mail_plugins", "", dc.Set("sieve", dc.Bool(true)))),
		// The administrator and the sync see and change everything: with ACLs on, a sync cannot delete a folder and stops for ever.
		dc.Block("protocol", "doveadm",
			dc.Set("quota_enforce", dc.Bool(false)),
			dc.Block("mail_plugins", "", dc.Set("acl", dc.Bool(false)))),
		dc.Set("lazy_expunge_mailbox", dc.Word(store.Expunged)),
		dc.Set("lazy_expunge_only_last_instance", dc.Bool(true)), // a merge renumbers by copy and expunge; those are no deletions
	}
}

func dovecotQuota() []dc.Node {
	return []dc.Node{
		dc.Block("quota", "mailbox"),
		dc.Set("quota_storage_grace", dc.Int(0)), // the contract's figure is exact; by default 10 MB more fit
		dc.Set("lmtp_rcpt_check_quota", dc.Bool(true)),
	}
}

// dovecotAccess makes a mailbox with acl_groups=readonly readable only. The rule stands in the namespace: as a global one it
// left some folders unprotected.
func dovecotAccess() []dc.Node {
	return []dc.Node{
		dc.Set("acl_driver", dc.Word("vfile")),
		dc.Set("acl_globals_only", dc.Bool(true)),
		dc.Block("namespace", "inbox",
			dc.Set("inbox", dc.Bool(true)),
			dc.Set("separator", dc.Word("/")),
			dc.Block("acl", "group-override=readonly", dc.Set("rights", dc.Word("lr"))),
			dc.Block("mailbox", antispam.Folder, dc.Set("special_use", dc.Text(`\Junk`))),
			dc.Block("mailbox", store.Expunged,
				dc.Set("quota_ignore", dc.Bool(true)),
				dc.Block("acl", "owner", dc.Set("rights", dc.Empty())))),
	}
}

// The conditions of a mailbox's row that more than one column asks.
const (
	holderMayChangeRules = "'Rules' IN (SELECT value FROM json_each(given -> 'mayChange'))" // admin.ChoiceRules, in admin.Given
	scriptsClosed        = "'%{protocol}' = 'sieve' AND (frozen_until > unixepoch() OR NOT " + holderMayChangeRules + ")"
)

// dovecotAccounts reads the directory. A boolean field is true when it is there, whatever it says; NULL means it is not there.
//
//   - Postfix does not heed nologin: to it, and to every protocol but IMAP and POP3, a mailbox without full access has no row at all.
//   - A read-only mailbox grows no folder over IMAP: quota_mailbox_count is 0. Only over IMAP, because the sync must still bring the other
//     site's; and 0 rather than the folders that it has, because an INBOX that never held a message is not made yet and does not count.
//   - LMTP takes nothing for whoever has no full access, whatever the engine decided: deliveries to INBOX ignore ACLs.
//   - A script is a rule: where the holder may not change those, or not now, nobody logs in to manage scripts, and one that is active
//     files nothing where he may not change them at all.
//   - The user is looked up after the password was checked: an access that was withdrawn meanwhile lets nobody in.
func dovecotAccounts() []dc.Node {
	return []dc.Node{
		dc.Set("sql_driver", dc.Word("sqlite")),
		dc.Set("sqlite_path", dc.Word(directoryDB)),
		dc.Set("sqlite_readonly", dc.Bool(true)),
		dc.Block("passdb", "sql", dc.Set("query", dc.Template("SELECT address AS user, password,"+
			" CASE WHEN access IN ('Suspended', 'Closed') OR "+scriptsClosed+" THEN 'y' END AS nologin,"+
			" CASE WHEN access = 'Suspended' THEN 'mailbox suspended' WHEN access = 'Closed' THEN 'mailbox closed'"+
			" WHEN "+scriptsClosed+" THEN 'rules cannot be changed here, or not now' END AS reason"+
			" FROM mailbox WHERE address = '%{user | lower}' AND (access = 'Full' OR '%{protocol}' IN ('imap', 'pop3'))"))),
		dc.Block("userdb", "sql",
			dc.Set("query", dc.Template("SELECT address AS user, quota_bytes || 'B' AS quota_storage_size,"+
				" CASE WHEN access = 'ReadOnly' THEN 'readonly' END AS acl_groups,"+
				" CASE WHEN access = 'ReadOnly' AND '%{protocol}' = 'imap' THEN '0' END AS quota_mailbox_count,"+
				" CASE WHEN '%{protocol}' = 'lmtp' AND NOT "+holderMayChangeRules+" THEN '~/sieve-none' END AS 'sieve_script/personal/sieve_script_active_path'"+
				" FROM mailbox WHERE address = '%{user | lower}' AND (access = 'Full' OR '%{protocol}' NOT IN ('imap', 'pop3', 'sieve', 'lmtp')"+
				" OR access = 'ReadOnly' AND '%{protocol}' IN ('imap', 'pop3'))")),
			dc.Set("iterate_query", dc.Template("SELECT address AS user FROM mailbox"))),
		dc.Set("auth_mechanisms", dc.Words("plain", "login")),
	}
}

// dovecotLoginPolicy has the engine asked before a password is checked, and told what became of it: at the ports of Dovecot and, since
// Postfix asks Dovecot, at submission. Where the engine does not answer, the password is checked. Nothing made of it is told: Dovecot
// wants a nonce for the hash that it would send.
func dovecotLoginPolicy() []dc.Node {
	return []dc.Node{
		dc.Set("auth_policy_server_url", dc.Word("http://"+loopback(portLoginPolicy)+"/")),
		dc.Set("auth_policy_server_api_header", dc.Same("doveadm_api_key")),
		dc.Set("auth_policy_check_after_auth", dc.Bool(false)), // else a right password beyond the bound would be told from a wrong one
		dc.Set("auth_policy_reject_on_fail", dc.Bool(false)),
		dc.Set("auth_policy_hash_nonce", dc.Word("unused")),
		dc.Block("auth_policy_request_attributes", "",
			dc.Set("login", dc.Template("%{user}")),
			dc.Set("remote", dc.Template("%{remote_ip}")),
			dc.Set("protocol", dc.Template("%{protocol}")),
			dc.Set("fail_type", dc.Template("%{fail_type}")),
			dc.Set("pwhash", dc.Empty()),
			dc.Set("session_id", dc.Empty()),
			dc.Set("device_id", dc.Empty())),
		dc.Block("auth_policy", "",
			dc.Set("http_client_request_absolute_timeout", dc.Word("1s")),
			// Each connection that an engine takes with it as it ends doubles how long Dovecot stays away from the next; nothing is bounded
			// then. With one, that is as long as there was none.
			dc.Set("http_client_max_parallel_connections", dc.Int(1))),
	}
}

// How many sessions a stack has room for. A process of a session ends with it, so that a stack that few use pays for few.
const (
	imapSessions  = 4096 // a mail program keeps some open
	pop3Sessions  = 1024
	sieveSessions = 256
	// loginClients are the connections of one process that waits for logins and carries the TLS of the sessions after them. Each
	// takes two descriptors, and a container may have no more than 1,024.
	loginClients = 256
)

// dovecotLogins are the ports that clients reach, and no clear-text one.
func dovecotLogins() []dc.Node {
	var nodes []dc.Node
	for _, s := range []struct {
		protocol  string
		sessions  int64
		listeners []dc.Node
	}{
		{"imap", imapSessions, []dc.Node{noListener("imap"), tlsListener("imaps", portIMAPS)}},
		{"pop3", pop3Sessions, []dc.Node{noListener("pop3"), tlsListener("pop3s", portPOP3S)}},
		// Its clients begin in the clear and ask for TLS; before that there is no login (ssl = required).
		{"managesieve", sieveSessions, []dc.Node{dc.Block("inet_listener", "sieve", dc.Set("port", dc.Int(portSieve)))}},
	} {
		nodes = append(nodes,
			dc.Block("service", s.protocol+"-login", append([]dc.Node{
				dc.Set("chroot", dc.Empty()),
				// By default a process takes one connection, and there are a hundred of them: four for each of 25 people.
				dc.Set("restart_request_count", dc.Word("unlimited")),
				dc.Set("client_limit", dc.Int(loginClients)),
				dc.Set("process_limit", dc.Int(2*s.sessions/loginClients)), // twice: those that never log in must not keep others out
			}, s.listeners...)...),
			dc.Block("service", s.protocol, dc.Set("process_limit", dc.Int(s.sessions))))
	}
	return nodes
}

// requestsPerProcess is how many requests a process for deliveries, or for the engine's questions and the sync, serves before another takes its place.
// The default of 1 is for processes that become the user's; ours are all of one. It starts a program for each: a sync took 85 ms and more
// instead of 12, the end of a mailbox's sessions 37 ms instead of one.
const requestsPerProcess = 1000

func dovecotServices() []dc.Node {
	return []dc.Node{
		// Nobody reads the statistics, and the process that gathers them has room for a thousand others.
		dc.Set("stats_writer_socket_path", dc.Empty()),
		// The penalty makes everybody behind one address wait for somebody's wrong password: with a balancer, all of them.
		dc.Block("service", "anvil", dc.Set("chroot", dc.Empty()), dc.Block("unix_listener", "anvil-auth-penalty", dc.Set("mode", dc.Mode(0)))),
		dc.Block("service", "lmtp",
			dc.Set("user", dc.Word(mailUser)),
			dc.Set("restart_request_count", dc.Int(requestsPerProcess)),
			loopbackListener("lmtp", portLMTP)),
		dc.Block("service", "auth",
			dc.Block("unix_listener", "auth-userdb", dc.Set("mode", dc.Mode(0o600)), dc.Set("user", dc.Word(mailUser))),
			loopbackListener("auth", portAuth)),
		dc.Block("service", "auth-worker", dc.Set("process_limit", dc.Int(4))), // bounds the memory of password checks
		dc.Block("service", "doveadm", dc.Set("restart_request_count", dc.Int(requestsPerProcess)), loopbackListener("doveadm", portDoveadm), loopbackListener("http", portDoveadmHTTP)),
	}
}

func noListener(name string) dc.Node {
	return dc.Block("inet_listener", name, dc.Set("port", dc.Int(0)))
}

func tlsListener(name string, port int64) dc.Node {
	return dc.Block("inet_listener", name, dc.Set("port", dc.Int(port)), dc.Set("ssl", dc.Bool(true)))
}

func loopbackListener(name string, port int64) dc.Node {
	return dc.Block("inet_listener", name, dc.Set("listen", dc.Word("127.0.0.1")), dc.Set("port", dc.Int(port)))
}
