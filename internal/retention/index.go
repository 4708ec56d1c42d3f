package retention

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"time"
)

// indexVersion names the shape of a package.
const indexVersion = "pec-operator.dev/package/v1"

// indexHead is the first line of the machines' index.
type indexHead struct {
	Version  string    `json:"version"`
	Mailbox  string    `json:"mailbox"`
	Before   time.Time `json:"before"`
	Messages int       `json:"messages"`
}

// lines is the machines' index: one JSON object a line, so that it is read without being held whole.
func (p Package) lines() []byte {
	var b bytes.Buffer
	head, _ := json.Marshal(indexHead{indexVersion, p.Mailbox, p.Before.UTC(), len(p.Messages)}) // plain fields: it cannot fail
	b.Write(append(head, '\n'))
	_ = writeLines(&b, p.Messages) // a buffer takes everything
	return b.Bytes()
}

var errIndex = errors.New("the index cannot be read")

// readLines reads a machines' index.
func readLines(r io.Reader) (Package, error) {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	var head indexHead
	if err := decoder.Decode(&head); err != nil {
		return Package{}, fmt.Errorf("%w: %w", errIndex, err)
	}
	if head.Version != indexVersion {
		return Package{}, fmt.Errorf("%w: version %q, this program reads %s", errIndex, head.Version, indexVersion)
	}
	p := Package{Mailbox: head.Mailbox, Before: head.Before}
	for {
		var m Message
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Package{}, fmt.Errorf("%w: %w", errIndex, err)
		}
		p.Messages = append(p.Messages, m)
	}
	if len(p.Messages) != head.Messages {
		return Package{}, fmt.Errorf("%w: it announces %d messages and lists %d", errIndex, head.Messages, len(p.Messages))
	}
	return p, nil
}

// The index for archivists: an XML document in the shape of UNI 11386:2020 (SInCRO), a PIndex. It bears no signature and no time
// stamp: those are the conservator's, who takes the package over.
const sincroNamespace = "http://www.uni.com/U3011/sincro-v2/"

type pIndex struct {
	XMLName xml.Name `xml:"PIndex"`
	XMLNS   string   `xml:"xmlns,attr"`
	Version string   `xml:"sincroVersion,attr"`
	Lang    string   `xml:"language,attr"`

	ID          string       `xml:"SelfDescription>ID"`
	Application string       `xml:"SelfDescription>CreatingApplication>Name"`
	AppVersion  string       `xml:"SelfDescription>CreatingApplication>Version"`
	Producer    string       `xml:"SelfDescription>CreatingApplication>Producer"`
	VolumeID    string       `xml:"PVolume>ID"`
	VolumeLabel string       `xml:"PVolume>Label"`
	Groups      []pFileGroup `xml:"FileGroup"`
	Time        pProcess     `xml:"Process"`
}

type pFileGroup struct {
	ID    string  `xml:"ID"`
	Label string  `xml:"Label"`
	Files []pFile `xml:"File"`
}

type pFile struct {
	Format string `xml:"format,attr"`
	ID     string `xml:"ID"`
	Path   string `xml:"Path"`
	Hash   pHash  `xml:"Hash"`
}

type pHash struct {
	Function string `xml:"hashFunction,attr"`
	Value    string `xml:",chardata"`
}

type pProcess struct {
	Info pTime `xml:"TimeReference>TimeInfo"`
}

type pTime struct {
	Attached bool   `xml:"attachedTimeStamp,attr"`
	Value    string `xml:",chardata"`
}

// pindex is the index for archivists. A group of files is a message with its receipts; its time is that of the selection.
func (p Package) pindex() ([]byte, error) {
	digest := p.Digest()
	doc := pIndex{
		XMLNS: sincroNamespace, Version: "2.0", Lang: "it",
		ID: "sha256:" + digest, Application: "pec-operator", AppVersion: indexVersion, Producer: "pec-operator",
		VolumeID: digest, VolumeLabel: p.Mailbox,
		Time: pProcess{Info: pTime{Value: p.Before.UTC().Format(time.RFC3339)}},
	}
	for _, kin := range group(p.Messages) {
		g := pFileGroup{ID: kin[0].Identifier, Label: kin[0].Folder}
		if g.ID == "" {
			g.ID = kin[0].File
		}
		for _, m := range kin {
			g.Files = append(g.Files, pFile{Format: "message/rfc822", ID: m.File, Path: m.File, Hash: pHash{"SHA-256", m.SHA256}})
		}
		doc.Groups = append(doc.Groups, g)
	}
	raw, err := xml.MarshalIndent(doc, "", " ")
	if err != nil {
		return nil, fmt.Errorf("writing the index of %s: %w", p.Mailbox, err)
	}
	return append([]byte(xml.Header), append(raw, '\n')...), nil
}
