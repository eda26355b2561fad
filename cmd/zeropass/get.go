package main

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
)

func getCommand(a *app) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "get TITLE|ID",
		Short: "Show a secret",
		Long: `Show a secret. It is found by its id, the first digits of the id, or words of its
title, user name and address that fit one secret alone.

Showing takes the second factor, the confirm passphrase, and the server: it
writes down in its activity log that this secret was asked for before it lets go
of its share. "zeropass activity" shows that log.`,
		Example: `zeropass get github.com
# Only the password, for another program
zeropass get github.com --field password`,
		Args: takes("TITLE or ID", true),
	}
	c.Flags().StringVar(&name, "field", "", "print this field alone: password, totp, notes, number, or one of your own")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd.Context(), func(d *device.Device) error {
			entry, err := d.Find(strings.Join(args, " "))
			if err != nil {
				return err
			}
			item, err := d.Get(cmd.Context(), entry.ID.String())
			if err != nil {
				return err
			}
			if name != "" {
				return a.showField(item, name)
			}
			return a.show(itemJSON(entry, item), func() { a.showItem(entry, item) })
		})
	})
	return c
}

// showField prints one value and nothing else.
func (a *app) showField(item *device.Item, name string) error {
	f, unknown := findField(append(metadataFields(item.Metadata), fieldsOf(item.Secret)...), name)
	if unknown != nil {
		return unknown
	}
	if a.json {
		return a.printJSON(map[string]string{f.name: f.value})
	}
	a.say("%s", strings.TrimSuffix(f.value, "\n"))
	return nil
}

// metadataFields are the fields that need no reveal, so that get --field takes
// them too.
func metadataFields(m *recordv1.SlotMetadata) []field {
	fields := []field{{name: "title", value: m.GetTitle()}, {name: "user", value: m.GetUserName()}, {name: "folder", value: m.GetFolder()}}
	if len(m.GetUris()) > 0 {
		fields = append(fields, field{name: "url", value: m.GetUris()[0].GetUri()})
	}
	return fields
}

func (a *app) showItem(entry *device.Entry, item *device.Item) {
	m := item.Metadata
	var rows [][2]string
	add := func(label, value string) {
		if value != "" {
			rows = append(rows, [2]string{label, value})
		}
	}
	add("user", m.GetUserName())
	for _, f := range fieldsOf(item.Secret) {
		switch {
		case f.name == "notes" && !f.own:
		case f.name == "fido2" && !f.own && f.value != "":
			add("passkey", "kept; --field fido2 shows it")
		default:
			add(f.name, f.value)
		}
	}
	for _, uri := range m.GetUris() {
		add("url", uri.GetUri())
	}
	add("folder", m.GetFolder())
	add("notes", item.Secret.GetNotes())
	for _, past := range item.Secret.GetPasswordHistory() {
		add("earlier", past.GetPassword())
	}
	a.say("%s  (%s, %s)", oneLine(m.GetTitle()), kindName(m.GetKind()), shortID(entry.ID))
	widest := 0
	for _, row := range rows {
		widest = max(widest, runewidth.StringWidth(oneLine(row[0])))
	}
	for _, row := range rows {
		indent := "  " + strings.Repeat(" ", widest+2)
		value := strings.ReplaceAll(strings.TrimRight(printable(row[1]), "\n"), "\n", "\n"+indent)
		a.say("  %s%s", runewidth.FillRight(oneLine(row[0]), widest+2), value)
	}
}

type ownFieldView struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type itemView struct {
	entryView
	Fields          map[string]string `json:"fields"`
	Notes           string            `json:"notes,omitempty"`
	Own             []ownFieldView    `json:"own_fields,omitempty"`
	PasswordHistory []string          `json:"password_history,omitempty"`
}

func itemJSON(entry *device.Entry, item *device.Item) itemView {
	v := itemView{entryView: entryJSON(entry), Fields: map[string]string{}, Notes: item.Secret.GetNotes()}
	for _, f := range fieldsOf(item.Secret) {
		switch {
		case f.own:
			v.Own = append(v.Own, ownFieldView{f.name, f.value})
		case f.name != "notes" && f.value != "":
			v.Fields[strings.ReplaceAll(f.name, "-", "_")] = f.value
		}
	}
	for _, past := range item.Secret.GetPasswordHistory() {
		v.PasswordHistory = append(v.PasswordHistory, past.GetPassword())
	}
	return v
}

// entryView is what list shows of a slot.
type entryView struct {
	ID       string     `json:"id"`
	Version  uint64     `json:"version"`
	Kind     string     `json:"kind"`
	Title    string     `json:"title"`
	User     string     `json:"user,omitempty"`
	URLs     []string   `json:"urls,omitempty"`
	Folder   string     `json:"folder,omitempty"`
	Favorite bool       `json:"favorite,omitempty"`
	Revised  *time.Time `json:"revised,omitempty"`
	Accepted bool       `json:"accepted"`
}

func entryJSON(e *device.Entry) entryView {
	m := e.Metadata
	v := entryView{
		ID: e.ID.String(), Version: e.Version, Kind: kindName(m.GetKind()), Title: m.GetTitle(), User: m.GetUserName(),
		Folder: m.GetFolder(), Favorite: m.GetFavorite(), Accepted: e.Accepted,
	}
	for _, uri := range m.GetUris() {
		v.URLs = append(v.URLs, uri.GetUri())
	}
	if m.GetRevised() != 0 {
		v.Revised = jsonTime(time.UnixMilli(m.GetRevised()))
	}
	return v
}

// shortID is as much of an id as people need to type.
func shortID(id ledger.SlotID) string { return hex.EncodeToString(id[:4]) }
