"""The grammar of rules and claims as text (lark, LALR); `circuits.rules.text` reads by it.

Texts are in lower case by then. Terminals that begin with an underscore are left out of what is read; the names of
terminals and rules are used by `circuits.rules.text` and `circuits.rules.complaints`.
"""

GRAMMAR = r"""
rule: either
claim: either [_ARROW effects]
?either: both (_OR both)*                             -> disjunction
?both: other (_AND other)*                            -> conjunction
?other: _NOT other                                    -> negation
      | _OPEN either _CLOSE                           -> bracket
      | fact
      | fact _AT BACK                                 -> earlier

?fact: SQUARE [_IS] state                             -> literal
     | SQUARE [_IS] [_JUST] EVENT                     -> literal
     | disc SQUARE                                    -> stated
     | LEGAL SQUARE                                   -> stated
     | [_JUST] EVENT SQUARE                           -> stated
     | LEGAL SQUARE _VIA DIRECTION FLANKED            -> line
     | count COMPARE NUMBER                           -> compared
     | NUMBER COMPARE count                           -> mirrored
     | NUMBER COMPARE count COMPARE NUMBER            -> squeezed
     | count [_IN] NUMBER _TO NUMBER                  -> between
     | SIDE _TO_MOVE                                  -> to_move
     | _PASSED                                        -> passed
     | _TRUE                                          -> true
     | _FALSE                                         -> false
!state: EMPTY | SIDE | LEGAL | DISCS
!disc: EMPTY | SIDE | DISCS
!count: COUNT | DISCS

effects: effect (_ALSO effect)*
?effect: SIGN SQUARE                                  -> logit
      | SIGN SQUARE [_BECOME] WRITTEN                 -> signed
      | squares [_BECOME] WRITTEN                     -> readings
      | SIGN UNIT                                     -> unit
squares: SQUARE (_ALSO SQUARE)*

SQUARE: /[a-z][0-9]{1,2}/ END
UNIT: /l[0-9]{1,4}[nh][0-9]{1,6}/ END
EMPTY: "empty" END
LEGAL: "legal" END
SIDE: /(black|white)/ END
DISCS: /(mine|theirs|occupied)/ END
EVENT: /(played|flipped)/ END
WRITTEN: /(empty|mine|theirs)/ END
COUNT: /(ply|flips|moves)/ END
DIRECTION: /(ne|nw|se|sw|n|e|s|w)/ END
FLANKED: /x[0-9]/ END
NUMBER: /[0-9]+/ END
COMPARE: />=|<=|!=|==|=|<|>|≥|≤|≠/
SIGN: /[+-]/
BACK: /[+-]?\s*[0-9]+/ END
_AND: /&&?|∧/ | "and" END
_OR: /\|\|?|∨/ | "or" END
_NOT: /[!~¬]/ | "not" END
_OPEN: "("
_CLOSE: ")"
_AT: "@"
_ARROW: /⇒|→|=>|->/
_ALSO: /[,&]/ | "and" END
_IS: /(is|was)/ END
_JUST: "just" END
_VIA: "via" END
_IN: "in" END
_TO: ".."
_TO_MOVE: /to\s+move/ END
_PASSED: "passed" END
_TRUE: "true" END
_FALSE: "false" END
_BECOME: /(becomes?|are|is)/ END
END: /(?![a-z0-9_])/
%ignore /\s+/
"""
