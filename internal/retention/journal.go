package retention

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// journal remembers what a run has read of the messages of one mailbox, so that the run after a crash does not read them again. It
// is only an aid: the bytes are hashed again when they are packed.
type journal struct {
	file    *os.File
	known   map[string]Message // by folder and GUID
	unsaved int
}

// syncEvery is how many messages a crash may make the next run read again.
const syncEvery = 200

// openJournal reads what is there; a last line that a crash cut is dropped.
func openJournal(path string) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &journal{file: file, known: map[string]Message{}}
	whole := int64(0)
	for scanner := bufio.NewReader(file); ; {
		line, err := scanner.ReadBytes('\n')
		var m Message
		if err != nil || json.Unmarshal(line, &m) != nil {
			break
		}
		whole += int64(len(line))
		j.known[journalKey(m.Folder, m.GUID)] = m
	}
	if err := errors.Join(file.Truncate(whole), seekTo(file, whole)); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the journal: %w", err), file.Close())
	}
	return j, nil
}

func seekTo(file *os.File, at int64) error {
	_, err := file.Seek(at, 0)
	return err
}

func journalKey(folder, guid string) string { return folder + "\x00" + guid }

func (j *journal) add(m Message) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if _, err := j.file.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if j.unsaved++; j.unsaved == syncEvery {
		j.unsaved = 0
		if err := j.file.Sync(); err != nil {
			return fmt.Errorf("writing the journal: %w", err)
		}
	}
	return nil
}

// drop forgets the journal of a run that is complete.
func (j *journal) drop() error {
	if err := os.Remove(j.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dropping the journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
