package systemtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/device"
)

func TestSlotsThroughTheirLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	first := ann.add("Bank", "one")
	ann.add("Bank of Cy", "two")
	mail := login("Mail", "three")
	mail.Metadata.Uris = []*recordv1.Uri{{Uri: "https://mail.example"}}
	if _, err := ann.Add(ctx, mail); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"bank": "one", "BANK": "one", "of cy": "two", "mail.example": "three", "ann mail": "three", first.ID.String()[:8]: "one", first.ID.String(): "one",
	} {
		ann.wantSecret(query, want)
	}
	for query, code := range map[string]device.Code{"nothing": device.CodeNotFound, "ann": device.CodeUsage, " ": device.CodeUsage} {
		_, err := ann.Get(ctx, query)
		wantCode(t, err, code)
	}
	if all, err := ann.List(""); err != nil || len(all) != 3 || all[0].Metadata.Title != "Bank" {
		t.Fatalf("%v, %v", all, err)
	}

	edited, err := ann.Edit(ctx, first.ID, login("Bank", "changed"))
	if err != nil || !edited.Accepted {
		t.Fatalf("%+v, %v", edited, err)
	}
	ann.wantSecret("bank", "changed")
	ann.reopen()
	ann.wantSecret("bank", "changed")
	if err := ann.Delete(ctx, first.ID); err != nil {
		t.Fatal(explained(err))
	}
	if err := ann.Delete(ctx, first.ID); err == nil {
		t.Fatal("deleted twice")
	}
	_, err = ann.Edit(ctx, first.ID, login("Bank", "back"))
	wantCode(t, err, device.CodeNotFound)
	if all, err := ann.List("bank"); err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	items, lost, err := ann.Export(ctx)
	if err != nil || len(lost) != 0 || len(items) != 2 {
		t.Fatalf("%d items, %v", len(items), err)
	}

	ann.sync()
	log, err := ann.Activity(ctx)
	if err != nil {
		t.Fatal(explained(err))
	}
	var texts []string
	for _, e := range log {
		texts = append(texts, e.Text)
	}
	for _, want := range []string{"made the account", "revealed Mail (ann)", "revealed 2 secrets at once (export)", "wrote to the ledger"} {
		if !strings.Contains(strings.Join(texts, "\n"), want) {
			t.Errorf("the activity log does not say %q: %q", want, texts)
		}
	}
}

func TestASecretWaitsForTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("before", "x")
	w.stopServer()
	r, err := ann.Add(ctx, login("offline", "kept"))
	if err != nil || r.Accepted || r.Cause == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = ann.Get(ctx, "before")
	wantCode(t, err, device.CodeUnreachable)
	ann.wantSecret("offline", "kept") // from this device alone
	ann.reopen()
	all, err := ann.List("")
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, e := range all {
		if e.Accepted != (e.Metadata.Title == "before") {
			t.Errorf("%+v", e)
		}
	}
	if st, err := ann.Status(ctx); err != nil || st.Unsent != 1 {
		t.Fatalf("%+v, %v", st, err)
	}
	_, err = ann.Sync(ctx)
	wantCode(t, err, device.CodeUnreachable)
	w.start()
	if s := ann.sync(); s.Sent != 1 {
		t.Fatalf("%+v", s)
	}
	ann.wantSecret("offline", "kept")
	if st, err := ann.Status(ctx); err != nil || st.Unsent != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	if all, err := ann.List(""); err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
}

func TestImportIsWholeAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	var items []device.Item
	for i := range 300 {
		item := login(fmt.Sprintf("site %d", i), fmt.Sprintf("secret %d", i))
		item.Metadata.SourceId = fmt.Sprintf("id-%d", i)
		items = append(items, item)
	}
	before := ann.Head().Sequence
	r, err := ann.Import(ctx, items[:200])
	if err != nil || !r.Accepted || r.Added != 200 || r.Skipped != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := ann.Head().Sequence - before; n != 1 {
		t.Errorf("200 slots in %d entries", n)
	}
	r, err = ann.Import(ctx, items)
	if err != nil || r.Added != 100 || r.Skipped != 200 {
		t.Fatalf("%+v, %v", r, err)
	}
	exported, lost, err := ann.Export(ctx)
	if err != nil || len(lost) != 0 || len(exported) != 300 {
		t.Fatalf("%d items, %v", len(exported), err)
	}
	byID := map[string]device.Item{}
	for _, item := range exported {
		byID[item.Metadata.SourceId] = item
	}
	for _, item := range items {
		got := byID[item.Metadata.SourceId]
		if !proto.Equal(got.Metadata, item.Metadata) || !proto.Equal(got.Secret, item.Secret) {
			t.Fatalf("%s came back changed", item.Metadata.Title)
		}
	}
	_, err = ann.Import(ctx, []device.Item{login("fine", "x"), {Metadata: &recordv1.SlotMetadata{Title: "no secret"}}})
	wantCode(t, err, device.CodeUsage)
	large := login("large", "x")
	large.Secret.Notes = strings.Repeat("x", 5<<20)
	_, err = ann.Import(ctx, []device.Item{login("fine", "x"), large})
	wantCode(t, err, device.CodeUsage)
	if all, err := ann.List("fine"); err != nil || len(all) != 0 {
		t.Fatalf("part of a refused import was stored: %v, %v", all, err)
	}
}

// A full account takes no more, says so, and works on.
func TestAFullAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	var items []device.Item
	for i := range 5 {
		item := login(fmt.Sprintf("photo %d", i), "x")
		item.Secret.Notes = strings.Repeat("x", 4<<20-1000)
		items = append(items, item)
	}
	for _, item := range items {
		if r, err := ann.Add(ctx, item); err != nil || !r.Accepted {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	last := login("one more", "kept")
	last.Secret.Notes = items[0].Secret.Notes
	r, err := ann.Add(ctx, last)
	if err != nil || r.Accepted {
		t.Fatalf("%+v, %v", r, err)
	}
	wantCode(t, r.Cause, device.CodeRefused)
	if text := explained(r.Cause); !strings.Contains(text, "fit into a recovery") || !strings.Contains(text, "delete") {
		t.Error(text)
	}
	s := ann.sync()
	if s.Sent != 0 || !strings.Contains(strings.Join(s.Notes, "\n"), "the account is full") {
		t.Fatalf("%+v", s)
	}
	ann.wantSecret("one more", "kept")
	if err := ann.Delete(ctx, mustFind(t, ann.Device, "photo 3").ID); err != nil {
		t.Fatal(explained(err))
	}
	if s := ann.sync(); s.Sent != 1 || len(s.Notes) != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestAWrongConfirmPassphraseRevealsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	ann.close()
	for name, ask := range map[string]func() ([]byte, error){
		"wrong": func() ([]byte, error) { return []byte("wrong"), nil },
		"first": func() ([]byte, error) { return []byte(passphrase), nil },
	} {
		o := w.options()
		o.ConfirmPassphrase = ask
		d, err := device.Open(ctx, ann.dir, []byte(passphrase), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Get(ctx, "site"); err == nil {
			t.Errorf("%s: revealed", name)
		} else {
			wantCode(t, err, device.CodePassphrase)
		}
		if _, err := d.Edit(ctx, mustFind(t, d, "site").ID, login("site", "changed")); err == nil {
			t.Errorf("%s: changed", name)
		}
		if all, err := d.List("site"); err != nil || len(all) != 1 || !all[0].Accepted {
			t.Errorf("%s: %v, %v", name, all, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := device.Open(ctx, ann.dir, []byte("wrong"), w.options())
	wantCode(t, err, device.CodePassphrase)
}

func mustFind(t *testing.T, d *device.Device, query string) *device.Entry {
	t.Helper()
	e, err := d.Find(query)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
