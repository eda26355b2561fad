package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"zeropass.dev/zeropass/internal/device"
)

func heldCommand(a *app) *cobra.Command {
	var list, words bool
	c := &cobra.Command{
		Use:   "held [OWNER]",
		Short: "Show the shares that you keep for others",
		Long: `Show the shares that you keep for others, as words and as a QR code. It works
without the server, so that you can help even when the server is gone.

With enough of these shares and one of the owner's devices, or the server, an
account is recovered. So speak with the owner, by voice or face to face, before
you read a share to anybody or let anybody see it.

The newest share of each owner comes first. An older one is replaced by it, and is
kept because the owner's device knows alone from when on the newer one protects.

While somebody asks to recover the account, the words are withheld for its
waiting period, like your approval.`,
		Example: "zeropass held\nzeropass held Ada\n# The words alone, for zeropass-recover\nzeropass held Ada --words",
	}
	c.Flags().BoolVar(&list, "list", false, "list for whom, without words and QR codes")
	c.Flags().BoolVar(&words, "words", false, "print the words alone, one share in a line")
	c.MarkFlagsMutuallyExclusive("list", "words")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.with(cmd.Context(), func(d *device.Device) error {
			all, err := d.Held(cmd.Context())
			if err != nil {
				return err
			}
			shares, err := heldBy(all, strings.Join(args, " "))
			if err != nil {
				return err
			}
			switch {
			case a.json:
				return a.printJSON(heldJSON(shares, list))
			case words:
				for _, h := range shares {
					if h.Words != "" {
						a.say("%s", h.Words)
					}
				}
				return nil
			}
			return a.showHeld(shares, list)
		})
	})
	return c
}

// heldBy picks the shares of one owner, by name or by the account's beginning.
func heldBy(all []device.HeldShare, owner string) ([]device.HeldShare, error) {
	if owner == "" {
		return all, nil
	}
	var picked []device.HeldShare
	for _, h := range all {
		if strings.EqualFold(h.Owner, owner) || len(owner) >= 6 && strings.HasPrefix(h.Account.String(), strings.ToLower(owner)) {
			picked = append(picked, h)
		}
	}
	if len(picked) == 0 {
		return nil, fail(exitNotFound, "zeropass held --list shows for whom there is one.", "no share is kept for %q", owner)
	}
	return picked, nil
}

type heldView struct {
	Owner         string     `json:"owner"`
	Account       string     `json:"account"`
	Epoch         uint64     `json:"epoch"`
	Member        uint64     `json:"member"`
	Quorum        int        `json:"quorum"`
	Contacts      int        `json:"contacts"`
	WaitingPeriod int64      `json:"waiting_period_seconds"`
	Whole         bool       `json:"whole"`
	Words         string     `json:"words,omitempty"`
	QR            string     `json:"qr,omitempty"`
	ShownFrom     *time.Time `json:"shown_from,omitempty"`
	Sequence      uint64     `json:"owner_sequence,omitempty"`
	Newer         uint64     `json:"newer_epoch,omitempty"`
}

func heldJSON(shares []device.HeldShare, list bool) []heldView {
	views := make([]heldView, 0, len(shares))
	for _, h := range shares {
		v := heldView{
			Owner: h.Owner, Account: h.Account.String(), Epoch: h.Epoch, Member: h.Member, Quorum: h.Quorum, Contacts: h.Members,
			WaitingPeriod: int64(h.WaitingPeriod / time.Second), Whole: h.Whole,
			Words: h.Words, QR: h.QR, ShownFrom: jsonTime(h.ShownFrom), Sequence: h.Head.Sequence, Newer: h.Newer,
		}
		if list {
			v.Words, v.QR = "", ""
		}
		views = append(views, v)
	}
	return views
}

func (a *app) showHeld(shares []device.HeldShare, list bool) error {
	if len(shares) == 0 {
		a.say("You keep no shares for others.")
		a.next("zeropass contact accept, when somebody invites you")
		return nil
	}
	for i, h := range shares {
		if i > 0 {
			a.say("")
		}
		a.say("For %s (account %s, epoch %d, share %d; any %d of %d are needed)",
			oneLine(h.Owner), h.Account.String()[:8], h.Epoch, h.Member, h.Quorum, h.Members)
		if h.Newer != 0 {
			a.say("  Replaced by the share of epoch %d, unless the owner says that epoch %d still protects.", h.Newer, h.Epoch)
		}
		switch {
		case !h.Whole:
			a.say("  One half of it has come; the other is on its way.")
			a.next("zeropass sync")
		case h.Words == "":
			a.say("  Somebody asks to recover this account. The words are withheld until %s.", when(h.ShownFrom))
			a.say("  Speak with %s first: zeropass request list shows what is asked.", oneLine(h.Owner))
		case !list:
			if err := a.showShare(h); err != nil {
				return err
			}
		}
	}
	if !list {
		a.say("")
		a.say("Show this to nobody but the owner, and only after you have spoken with them.")
	}
	return nil
}

// showShare shows one share as words, and as a QR code where there is a screen to
// hold a camera at.
func (a *app) showShare(h device.HeldShare) error {
	a.showWords(h.Words)
	if term.IsTerminal(int(a.out.Fd())) {
		a.say("")
		return a.printQR(h.QR)
	}
	return nil
}

// showWords prints words in numbered rows, which two people can keep track of on
// the phone. zeropass-recover and recover finish take them with the numbers.
func (a *app) showWords(all string) {
	const perRow = 5
	words := strings.Fields(all)
	a.say("")
	for at := 0; at < len(words); at += perRow {
		var row strings.Builder
		for _, word := range words[at:min(at+perRow, len(words))] {
			fmt.Fprintf(&row, "%-10s", word)
		}
		a.say("  %3d  %s", at+1, strings.TrimRight(row.String(), " "))
	}
}
