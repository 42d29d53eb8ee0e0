const list = (text: string): string[] => text.split(/\s+/).filter((word) => word !== "");

/**
 * Words that say nothing about what a text is about. Not here: what turns a sentence round or binds it to a condition (not, no, never,
 * without, only, if, unless, until, before, after): "do not retry" and "retry" are two memories.
 */
export const STOP_WORDS: ReadonlySet<string> = new Set(
  list(`a an the and or but nor so of to in on at by for from with as into onto out up down off over than then too very just also about
    is are was were be been being am do does did doing done has have had having will would shall should can could may might must
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself we us our ours ourselves they them their
    theirs themselves one ones this that these those there here who whom whose which what when where why how
    s t d ll m re ve o y im ive id dont u ur etc ok okay oh hey hi hello wow yeah yes yep well really much some any each both such same own more most other
    because while during through again further once like get got let lets thing things stuff lot lots kind sort bit please thanks thank`),
);

/** Words of a question that are not in its answer; taken out of questions only. */
export const QUESTION_WORDS: ReadonlySet<string> = new Set(
  list(`tell show find give list know remember recall mention mentioned say said describe described explain many often ever likely consider considered
    according based regarding type types name names happen happened`),
);

/** Forms that a stemmer does not bring together: word → what it is counted as. */
export const SAME_WORDS: ReadonlyMap<string, string> = new Map(
  [
    // Verbs and nouns whose forms are irregular.
    ...list(`go:went,gone,goes,going buy:bought make:made run:ran take:took,taken tell:told give:gave,given write:wrote,written see:saw,seen
      come:came become:became begin:began,begun break:broke,broken bring:brought build:built catch:caught choose:chose,chosen
      deal:dealt draw:drew,drawn drink:drank,drunk drive:drove,driven eat:ate,eaten fall:fell,fallen feel:felt fight:fought fly:flew,flown
      forget:forgot,forgotten forgive:forgave,forgiven freeze:froze,frozen grow:grew,grown hang:hung hear:heard hide:hid,hidden hold:held
      keep:kept lead:led leave:left lend:lent lie:lay,lain light:lit lose:lost mean:meant meet:met pay:paid ride:rode,ridden ring:rang,rung
      rise:rose,risen seek:sought sell:sold send:sent shake:shook,shaken shine:shone shoot:shot shrink:shrank,shrunk sing:sang,sung
      sink:sank,sunk sit:sat sleep:slept slide:slid speak:spoke,spoken spend:spent spin:spun stand:stood steal:stole,stolen
      stick:stuck strike:struck swear:swore,sworn sweep:swept swim:swam,swum teach:taught tear:tore,torn think:thought throw:threw,thrown
      understand:understood wake:woke,woken wear:wore,worn win:won wind:wound withdraw:withdrew,withdrawn find:found override:overrode,overridden
      rewrite:rewrote,rewritten undo:undid,undone redo:redid,redone rebuild:rebuilt bind:bound learn:learnt die:dying,died tie:tying
      child:children,kid,kids man:men woman:women foot:feet tooth:teeth mouse:mice life:lives wife:wives knife:knives leaf:leaves shelf:shelves
      person:people,persons,folk,folks`),
    // What is called by two names, at home and in code.
    ...list(`mother:mom,mum,mommy,mama,mothers,moms father:dad,daddy,papa,fathers,dads grandmother:grandma,granny grandfather:grandpa,granddad
      photo:photograph,photographs,photos,pic,pics,picture,pictures,image,images movie:film,films,movies bike:bicycle,bicycles,bikes
      tv:television,televisions phone:telephone,smartphone car:automobile holiday:vacation,vacations,holidays
      job:occupation,occupations,profession,professions buy:purchase,purchased,purchases,purchasing begin:start,started,starts,starting
      authentication:auth,authenticate,authenticated,authenticates,authenticating authorization:authz,authorize,authorized,authorise
      database:db,dbs,databases configuration:config,configs,configure,configured,configures,conf,cfg,configurations repository:repo,repos,repositories
      directory:dir,dirs,directories,folder,folders environment:env,envs,environments error:err,errs,errors function:fn,func,functions
      dependency:dep,deps,dependencies parameter:param,params,parameters argument:arg,args,arguments message:msg,msgs,messages
      document:doc,docs,documents,documentation temporary:tmp,temp number:num,numbers maximum:max minimum:min
      application:app,apps,applications administrator:admin,admins specification:spec,specs information:info initialize:init,initialise,initialised,initialized
      delete:remove,removed,removes,removing,removal,deleted,deletes,deleting,deletion fix:fixed,fixes,fixing,repair,repaired bug:bugs,defect,defects
      implementation:impl,implement,implemented,implements javascript:js typescript:ts kubernetes:k8s postgresql:postgres`),
  ].flatMap((group) => {
    const [word = "", forms = ""] = group.split(":");
    return forms.split(",").map((form): [string, string] => [form, word]);
  }),
);
