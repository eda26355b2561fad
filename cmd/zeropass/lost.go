package main

import (
	"fmt"
	"strings"

	"zeropass.dev/zeropass/internal/device"
)

// lostView is a secret that does not open, in JSON.
type lostView struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Why   string `json:"why"`
}

func lostJSON(lost []device.LostItem) []lostView {
	views := []lostView{}
	for _, l := range lost {
		why := "it does not open"
		if l.Err != nil {
			why = l.Err.Error()
		}
		views = append(views, lostView{l.Slot.String(), l.Title, why})
	}
	return views
}

func lostLines(views []lostView) []string {
	var lines []string
	for _, v := range views {
		lines = append(lines, fmt.Sprintf("%s (%s): %s", oneLine(v.Title), v.ID[:8], v.Why))
	}
	return lines
}

// deleteLost is what to type to be rid of what does not open.
func deleteLost(lost []device.LostItem) string {
	var commands []string
	for _, l := range lost {
		commands = append(commands, "zeropass delete "+l.Slot.String()[:8])
	}
	return strings.Join(commands, "; ")
}

func doesOrDo(n int) string {
	if n == 1 {
		return "1 secret does"
	}
	return count(n, "secret") + " do"
}
