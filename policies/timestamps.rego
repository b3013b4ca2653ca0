# RFC 3339 times, checked to the last day of February before they are parsed: engines differ in what they do
# with a time that does not exist (one leaves the rule undefined, another stops), and neither may decide.
package cortexops

readable_time(text) if {
	is_string(text)
	regex.match(`^(19[7-9]|20[0-9]|21[0-9])[0-9]-`, text)
	calendar_day(text)
	regex.match(`T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`, text)
}

calendar_day(text) if regex.match(`^[0-9]{4}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])T[0-9:.+Z-]+$`, text)

calendar_day(text) if regex.match(`^[0-9]{4}-(0[469]|11)-(0[1-9]|[12][0-9]|30)T[0-9:.+Z-]+$`, text)

calendar_day(text) if regex.match(`^[0-9]{4}-02-(0[1-9]|1[0-9]|2[0-8])T[0-9:.+Z-]+$`, text)

# Leap years from 1970 to 2199; 2100 is none.
calendar_day(text) if {
	regex.match(
		`^(19(7[26]|8[048]|9[26])|20([02468][048]|[13579][26])|21(0[48]|[2468][048]|[13579][26]))-02-29T[0-9:.+Z-]+$`,
		text,
	)
}
