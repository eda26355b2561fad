package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/interchange"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
)

// program is one recovery.
type program struct {
	options
	terminal *terminal
	report   report

	home   *home.Home
	state  *ledger.State
	device *recovery.Device
	given  []given
}

// run recovers: passphrase, words, keys, secrets, output, in this order.
func (p *program) run(ctx context.Context) error {
	if err := checkOutput(p.output); err != nil {
		return err
	}
	restore, err := p.terminal.silence()
	if err != nil {
		return err
	}
	defer restore()
	if err := p.open(ctx); err != nil {
		return err
	}
	defer p.close()
	if err := p.readFiles(); err != nil {
		return err
	}
	if p.terminal.is {
		if err := p.askWords(ctx); err != nil {
			return err
		}
	}
	opened, err := p.openSlots(ctx)
	if err != nil {
		return err
	}
	items := p.addPending(p.choose(opened))
	if n := len(p.report.Failed); n > 0 && !p.partial {
		return fail(exitFailed, "Try the words of other contacts or another device's directory; or write what opens with --partial.", "nothing was written, because %s not open", count(n, "secret does", "secrets do"))
	}
	if err := writeOutput(p.output, p.format, items); err != nil {
		return err
	}
	p.report.Written, p.report.Items = p.output, len(items)
	if n := len(p.report.Failed); n > 0 {
		return fail(exitFailed, "Try the words of other contacts or another device's directory for the rest.", "%s was written without everything: %s not open", p.output, count(n, "secret does", "secrets do"))
	}
	return nil
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// open opens the directory and unlocks it.
func (p *program) open(ctx context.Context) (err error) {
	if p.home, err = home.OpenDamaged(p.options.home); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = p.home.Close()
		}
	}()
	if p.state = p.home.State(); p.state == nil || p.state.InUse() == nil {
		if damage := p.home.Damage(); len(damage) > 0 {
			return damage[0]
		}
		return fail(exitHome, "Name the directory of a device that was part of the account.", "the directory %s has no account with secrets", p.options.home)
	}
	for _, damage := range p.home.Damage() {
		if damage.File == "ledger" {
			p.report.fail(failed{Title: "the ledger", Reason: fmt.Sprintf("%v. What was written after entry %d cannot be read from this copy", damage.Reason, p.state.Head().Sequence)})
		} else {
			p.report.warn("%v", damage)
		}
	}
	passphrase, err := p.passphrase(ctx)
	if err != nil {
		return err
	}
	defer clear(passphrase)
	if err := p.home.Unlock(passphrase); err != nil {
		return err
	}
	p.report.Account, p.report.Name = p.state.Account().String(), p.home.Config().GetName()
	p.device, err = recovery.FromHome(p.home)
	return err
}

func (p *program) passphrase(ctx context.Context) ([]byte, error) {
	const maxPassphrase = 1024 // bytes
	if p.passphraseFile != "" {
		b, err := readSecretFile(p.passphraseFile, maxPassphrase, p.report.warn)
		if err != nil {
			return nil, fail(exitFailed, "Give --passphrase-file a file that holds the passphrase in one line.", "the passphrase cannot be read: %v", err)
		}
		return bytes.TrimRight(b, "\r\n"), nil
	}
	if !p.terminal.is {
		return nil, fail(exitUsage, "Run it in a terminal, or give the passphrase with --passphrase-file.", "there is nobody to ask for the passphrase")
	}
	line, err := p.terminal.line(ctx, fmt.Sprintf("Passphrase of %s: ", printable(p.options.home)))
	if errors.Is(err, io.EOF) {
		return nil, fail(exitPassphrase, "Type the passphrase of this directory.", "no passphrase was typed")
	}
	return []byte(line), err
}

// close erases what was opened.
func (p *program) close() {
	for _, g := range p.given {
		if g.share != nil {
			g.share.Erase()
		}
	}
	p.device.Erase()
	_ = p.home.Close()
}

// epochs returns the epochs whose words may be given, the best first: the one in
// use, one that is prepared, and the older ones.
func (p *program) epochs() []*ledger.Epoch {
	epochs := []*ledger.Epoch{p.state.InUse()}
	for n := p.state.NextEpoch() - 1; n > 0; n-- {
		if e, ok := p.state.Epoch(n); ok && n != epochs[0].Number {
			epochs = append(epochs, e)
		}
	}
	return epochs
}

// openSlots opens the slots in every epoch whose words suffice, and returns the
// best of each.
func (p *program) openSlots(ctx context.Context) (map[ledger.SlotID]recovery.Opened, error) {
	best := make(map[ledger.SlotID]recovery.Opened)
	var first error
	for _, e := range p.epochs() {
		if !p.enough(e) {
			continue
		}
		keys, err := p.rebuild(e.Number)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if p.report.Epochs == nil && e.Number != p.state.InUse().Number {
			p.report.warn("the words are of epoch %d, and the account is in epoch %d: secrets that were written since are missing", e.Number, p.state.InUse().Number)
		}
		p.report.Epochs = append(p.report.Epochs, e.Number)
		backup := recovery.NewBackup(p.state, e.Number, keys)
		opened, err := recovery.Open(ctx, p.state, e.Number, p.device, backup)
		backup.Erase()
		if err != nil {
			return nil, err
		}
		for _, o := range opened {
			if old, ok := best[o.Slot]; !ok || better(o, old) {
				best[o.Slot] = o
			}
		}
	}
	switch {
	case p.report.Epochs != nil:
		return best, nil
	case first != nil:
		return nil, first
	}
	return nil, p.notEnough()
}

// better says whether a slot is opened further than it was.
func better(o, old recovery.Opened) bool {
	if (o.Secret != nil) != (old.Secret != nil) {
		return o.Secret != nil
	}
	if o.Secret == nil {
		return o.Metadata != nil && old.Metadata == nil
	}
	return o.Version > old.Version
}

// rebuild brings an epoch's keys back from the words and the device's own share.
func (p *program) rebuild(epoch uint64) (*seed.Keys, error) {
	own, err := p.device.SeedShare(epoch)
	if err != nil {
		return nil, err
	}
	defer own.Erase()
	shares, _, _ := p.have(epoch)
	keys, report, err := recovery.Rebuild(append(shares, own), p.state, epoch)
	for _, wrong := range report.Wrong() {
		p.report.warn("%v", wrong)
	}
	if err != nil {
		return nil, fail(exitFailed, "Check the words, or take those of other contacts.", "epoch %d does not come back: %v", epoch, err)
	}
	return keys, nil
}

// slotItem is what a slot holds, as it is written.
type slotItem struct {
	id    ledger.SlotID
	first uint64 // sequence of the entry that stored it first; the highest for none
	item  interchange.Item
}

// choose returns the items in the order in which they were first stored, and
// reports what did not open.
func (p *program) choose(opened map[ledger.SlotID]recovery.Opened) []slotItem {
	var items []slotItem
	for _, o := range opened {
		slot, _ := p.state.Slot(o.Slot)
		if o.Err != nil {
			p.report.fail(p.failure(o, slot))
		}
		if o.Secret == nil {
			continue
		}
		if o.Metadata == nil {
			o.Metadata = nameless(o)
		}
		items = append(items, slotItem{id: slot.ID, first: slot.Created.Sequence, item: interchange.Item{Metadata: o.Metadata, Secret: o.Secret}})
	}
	slices.SortFunc(items, func(a, b slotItem) int {
		return cmp.Or(cmp.Compare(a.first, b.first), bytes.Compare(a.id[:], b.id[:]))
	})
	return items
}
